// A script process as main() sees it.
#ifndef TUMA_SANDBOX_MAIN_H
#define TUMA_SANDBOX_MAIN_H

// The process's main, behind the hidden command `__sandbox`; never returns. Expects
// its parent's socket and the shared page as descriptors WIRE_FD and WIRE_BEAT_FD.
int sandbox_main(int argc, char **argv);

#endif
