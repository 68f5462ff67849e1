// The assembler copies each file in as it stands (paths are relative to the repo's
// root, where make runs). A generated C array was the other way: a tool more, and
// slower to compile. A new file is a line in FILES; the Makefile rebuilds this
// object when one changes.
#include "embedded.h"

#define FILES(F) F(api) F(catalog) F(meta) F(starter) F(test)

#define EMBED(name)                                                                                \
    __asm__(".section .rodata\n"                                                                   \
            ".global embedded_" #name "\n.global embedded_" #name "_end\n"                         \
            "embedded_" #name ":\n.incbin \"lua/" #name ".lua\"\n"                                 \
            "embedded_" #name "_end:\n.byte 0\n.previous\n");                                      \
    extern const char embedded_##name[], embedded_##name##_end[];
FILES(EMBED)

struct slice embedded_lua(const char *name) {
#define ENTRY(file) { #file, embedded_##file, embedded_##file##_end },
    static const struct { const char *name, *start, *end; } files[] = { FILES(ENTRY) };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (strcmp(files[i].name, name) == 0)
            return slice(files[i].start, (size_t)(files[i].end - files[i].start));
    return slice(NULL, 0);
}
