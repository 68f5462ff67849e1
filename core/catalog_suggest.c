// The nearest of some words, by edit distance: a swap of neighbours is one
// edit, and the case of a letter is none.
#include "catalog.h"

enum { WORD_MAX = 64 };

static char fold(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static unsigned least(unsigned a, unsigned b) {
    return a < b ? a : b;
}

// One row of the table: distances of a[0 … i] to every prefix of b, from the two rows before.
static void next_row(struct slice a, struct slice b, size_t i, const unsigned *last2,
                     const unsigned *last, unsigned *row) {
    row[0] = (unsigned)i + 1;
    for (size_t j = 0; j < b.n; j++) {
        bool same = fold(a.p[i]) == fold(b.p[j]);
        row[j + 1] = least(last[j] + !same, least(last[j + 1], row[j]) + 1);
        bool swapped =
            i && j && fold(a.p[i]) == fold(b.p[j - 1]) && fold(a.p[i - 1]) == fold(b.p[j]);
        if (swapped) row[j + 1] = least(row[j + 1], last2[j - 1] + 1);
    }
}

static unsigned distance(struct slice a, struct slice b) {
    unsigned rows[3][WORD_MAX + 1];
    for (size_t j = 0; j <= b.n; j++) rows[2][j] = (unsigned)j;
    for (size_t i = 0; i < a.n; i++)
        next_row(a, b, i, rows[(i + 1) % 3], rows[(i + 2) % 3], rows[i % 3]);
    return rows[(a.n + 2) % 3][b.n];
}

struct slice suggest(const struct slice *words, size_t count, struct slice word) {
    struct slice found = S("");
    unsigned best = word.n >= 8 ? 4 : 3; // one more than is near enough
    // A word that would have to be replaced altogether is no suggestion.
    if (word.n < best) best = (unsigned)word.n;
    if (word.n > WORD_MAX) return found;
    for (size_t i = 0; i < count && best; i++) {
        size_t apart = words[i].n > word.n ? words[i].n - word.n : word.n - words[i].n;
        if (words[i].n > WORD_MAX || apart >= best) continue;
        unsigned d = distance(word, words[i]);
        if (d >= best) continue;
        best = d;
        found = words[i];
    }
    return found;
}
