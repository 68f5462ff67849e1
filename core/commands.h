// The commands, one function each; argv[0] is the command's name. They return
// the exit status (cli.h).
#ifndef TUMA_COMMANDS_H
#define TUMA_COMMANDS_H

int cmd_serve(int argc, char **argv);
int cmd_run(int argc, char **argv);
int cmd_send(int argc, char **argv);
int cmd_check(int argc, char **argv);
int cmd_render(int argc, char **argv);
int cmd_test(int argc, char **argv);
int cmd_diff(int argc, char **argv);
int cmd_new(int argc, char **argv);
int cmd_log(int argc, char **argv);
int cmd_show(int argc, char **argv);
int cmd_redeliver(int argc, char **argv);
int cmd_drop(int argc, char **argv);
int cmd_scripts(int argc, char **argv);
int cmd_events(int argc, char **argv);
int cmd_tags(int argc, char **argv);
int cmd_secret(int argc, char **argv);
int cmd_token(int argc, char **argv);
int cmd_sink(int argc, char **argv);
int cmd_bench(int argc, char **argv);

#endif
