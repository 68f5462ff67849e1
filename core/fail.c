// Error details with a place. Kept free of allocation: it must work when
// nothing else does.
#include "fail.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum err fail_set(struct fail *fail, enum err code, size_t at, const char *type, const char *format,
                  ...) {
    if (!fail) return code;
    fail->code = code;
    fail->at = at;
    fail->line = fail->column = 0;
    snprintf(fail->type, sizeof fail->type, "%s", type);
    va_list args;
    va_start(args, format);
    vsnprintf(fail->text, sizeof fail->text, format, args);
    va_end(args);
    return code;
}

void fail_path(struct fail *fail, const char *format, ...) {
    if (!fail) return;
    va_list args;
    va_start(args, format);
    vsnprintf(fail->path, sizeof fail->path, format, args);
    va_end(args);
}

void fail_no_memory(const char *what) {
    const char *const parts[] = { "tuma: no memory for ", what, "\n" };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        ssize_t said = write(STDERR_FILENO, parts[i], strlen(parts[i]));
        (void)said;
    }
    _exit(EXIT_FAILURE);
}

void fail_place(struct fail *fail, const char *text, size_t n) {
    size_t end = fail->at < n ? fail->at : n;
    size_t start = 0;
    fail->line = 1;
    for (size_t i = 0; i < end; i++) {
        if (text[i] != '\n') continue;
        fail->line++;
        start = i + 1;
    }
    fail->column = (unsigned)(end - start) + 1;
}
