// Lua 5.1 patterns by backtracking, as the language defines them, with two
// differences from the stock matcher: every 1024 compared bytes the budget is
// polled, and nesting ends at a fixed depth that small stacks survive. Zero
// bytes are ordinary in both texts; %g (printable, not space) and %f are known.
#include "sandbox_string_inner.h"

enum { SET_STEP = 8 }; // a set may be megabytes: so many bytes of one are a step

void match_init(struct match *m, lua_State *L, struct slice source, struct slice pattern) {
    m->L = L;
    m->sandbox = sandbox_of(L);
    m->source = source.p;
    m->source_end = source.p + source.n;
    m->pattern_end = pattern.p + pattern.n;
    m->steps = 0;
    m->depth = 0;
    m->level = 0;
}

void match_steps(struct match *m, size_t steps) {
    if (steps < SANDBOX_POLL_STEPS - m->steps) {
        m->steps += (unsigned)steps;
        return;
    }
    m->steps = 0;
    if (m->sandbox->over) sandbox_poll(m->L);
}

// The end of the single-character item at `p`: a class, a set or a byte.
static const char *item_end(struct match *m, const char *p) {
    if (*p == '%') {
        if (p + 1 == m->pattern_end) luaL_error(m->L, "malformed pattern (ends with '%%')");
        return p + 2;
    }
    if (*p != '[') return p + 1;
    const char *start = p++;
    if (p < m->pattern_end && *p == '^') p++;
    do { // the first ']' is a member
        if (p >= m->pattern_end) luaL_error(m->L, "malformed pattern (missing ']')");
        if (*p == '%') p++;
        p++;
    } while (p >= m->pattern_end || *p != ']');
    match_steps(m, (size_t)(p - start) / SET_STEP);
    return p + 1;
}

static bool is_alpha(unsigned char c) {
    return (unsigned char)((c | 0x20) - 'a') < 26;
}
static bool is_digit(unsigned char c) {
    return (unsigned char)(c - '0') < 10;
}
static bool is_print(unsigned char c) {
    return c > ' ' && c < 0x7F;
}

static bool class_holds(unsigned char letter, unsigned char c) {
    bool holds;
    switch (letter | 0x20) {
    case 'a': holds = is_alpha(c); break;
    case 'c': holds = c < ' ' || c == 0x7F; break;
    case 'd': holds = is_digit(c); break;
    case 'g': holds = is_print(c); break;
    case 'l': holds = (unsigned char)(c - 'a') < 26; break;
    case 'p': holds = is_print(c) && !is_alpha(c) && !is_digit(c); break;
    case 's': holds = c == ' ' || (unsigned char)(c - '\t') < 5; break;
    case 'u': holds = (unsigned char)(c - 'A') < 26; break;
    case 'w': holds = is_alpha(c) || is_digit(c); break;
    case 'x': holds = is_digit(c) || (unsigned char)((c | 0x20) - 'a') < 6; break;
    case 'z': holds = c == 0; break;
    default: return letter == c;
    }
    // A capital is the class's complement; other bytes that fold onto a letter are themselves.
    if (!is_alpha(letter)) return letter == c;
    return (letter & 0x20) ? holds : !holds;
}

// Is `c` in the set whose '[' is at `p` and whose ']' is at `end`?
static bool set_holds(unsigned char c, const char *p, const char *end) {
    bool found = true;
    if (*++p == '^') {
        found = false;
        p++;
    }
    for (; p < end; p++) {
        if (*p == '%') {
            p++;
            if (class_holds((unsigned char)*p, c)) return found;
        } else if (p + 2 < end && p[1] == '-') {
            if ((unsigned char)p[0] <= c && c <= (unsigned char)p[2]) return found;
            p += 2;
        } else if ((unsigned char)*p == c) {
            return found;
        }
    }
    return !found;
}

// Does the item p..end match the byte at `s`? Counts one step.
static bool item_holds(struct match *m, const char *s, const char *p, const char *end) {
    if (++m->steps >= SANDBOX_POLL_STEPS) match_steps(m, 0);
    if (s >= m->source_end) return false;
    unsigned char c = (unsigned char)*s;
    switch (*p) {
    case '.': return true;
    case '%': return class_holds((unsigned char)p[1], c);
    case '[': match_steps(m, (size_t)(end - p) / SET_STEP); return set_holds(c, p, end - 1);
    default: return (unsigned char)*p == c;
    }
}

static const char *match_balance(struct match *m, const char *s, const char *p) {
    if (m->pattern_end - p < 2) luaL_error(m->L, "unbalanced pattern");
    if (s >= m->source_end || *s != p[0]) return NULL;
    size_t open = 1;
    for (const char *c = s + 1; c < m->source_end; c++) {
        if (++m->steps >= SANDBOX_POLL_STEPS) match_steps(m, 0);
        if (*c == p[1]) {
            if (--open == 0) return c + 1;
        } else if (*c == p[0]) {
            open++;
        }
    }
    return NULL;
}

static const char *match_longest(struct match *m, const char *s, const char *p, const char *end) {
    ptrdiff_t n = 0;
    while (item_holds(m, s + n, p, end)) n++;
    for (; n >= 0; n--) {
        const char *found = match_at(m, s + n, end + 1);
        if (found) return found;
    }
    return NULL;
}

static const char *match_shortest(struct match *m, const char *s, const char *p, const char *end) {
    for (;; s++) {
        const char *found = match_at(m, s, end + 1);
        if (found) return found;
        if (!item_holds(m, s, p, end)) return NULL;
    }
}

static const char *open_capture(struct match *m, const char *s, const char *p, ptrdiff_t what) {
    if (m->level >= MATCH_CAPTURES_MAX) luaL_error(m->L, "too many captures");
    m->captures[m->level].start = s;
    m->captures[m->level].length = what;
    m->level++;
    const char *found = match_at(m, s, p);
    if (!found) m->level--;
    return found;
}

static const char *close_capture(struct match *m, const char *s, const char *p) {
    int i = m->level - 1;
    while (i >= 0 && m->captures[i].length != CAPTURE_OPEN) i--;
    if (i < 0) luaL_error(m->L, "invalid pattern capture");
    m->captures[i].length = s - m->captures[i].start;
    const char *found = match_at(m, s, p);
    if (!found) m->captures[i].length = CAPTURE_OPEN;
    return found;
}

// %1 … %9: the same text as a finished capture. A position capture never matches.
static const char *match_again(struct match *m, const char *s, unsigned char digit) {
    int i = digit - '1';
    if (i < 0 || i >= m->level || m->captures[i].length == CAPTURE_OPEN)
        luaL_error(m->L, "invalid capture index");
    ptrdiff_t n = m->captures[i].length;
    if (n < 0 || m->source_end - s < n) return NULL;
    match_steps(m, (size_t)n / 16 + 1);
    return memcmp(m->captures[i].start, s, (size_t)n) == 0 ? s + n : NULL;
}

// %f[set]: between a byte outside the set and one inside; both ends of the text count as NUL.
static bool at_frontier(struct match *m, const char *s, const char *p, const char *end) {
    match_steps(m, 2 * (size_t)(end - p) / SET_STEP);
    unsigned char before = s == m->source ? 0 : (unsigned char)s[-1];
    unsigned char after = s == m->source_end ? 0 : (unsigned char)*s;
    return !set_holds(before, p, end - 1) && set_holds(after, p, end - 1);
}

// One pass of match_at: follows the pattern as far as that needs no nesting.
static const char *follow(struct match *m, const char *s, const char *p) {
    while (p < m->pattern_end) {
        if (*p == '(') {
            bool position = p + 1 < m->pattern_end && p[1] == ')';
            return open_capture(m, s, p + 1 + position, position ? CAPTURE_POSITION : CAPTURE_OPEN);
        }
        if (*p == ')') return close_capture(m, s, p + 1);
        if (*p == '$' && p + 1 == m->pattern_end) return s == m->source_end ? s : NULL;
        unsigned char escape = *p == '%' && p + 1 < m->pattern_end ? (unsigned char)p[1] : 0;
        if (escape == 'b') {
            if (!(s = match_balance(m, s, p + 2))) return NULL;
            p += 4;
            continue;
        }
        if (escape == 'f') {
            p += 2;
            if (p >= m->pattern_end || *p != '[')
                luaL_error(m->L, "missing '[' after '%%f' in pattern");
            const char *end = item_end(m, p);
            if (!at_frontier(m, s, p, end)) return NULL;
            p = end;
            continue;
        }
        if (is_digit(escape)) {
            if (!(s = match_again(m, s, escape))) return NULL;
            p += 2;
            continue;
        }
        const char *end = item_end(m, p);
        char suffix = end < m->pattern_end ? *end : '\0';
        if (suffix == '*') return match_longest(m, s, p, end);
        if (suffix == '-') return match_shortest(m, s, p, end);
        bool holds = item_holds(m, s, p, end);
        if (suffix == '+') return holds ? match_longest(m, s + 1, p, end) : NULL;
        if (suffix == '?') {
            const char *found = holds ? match_at(m, s + 1, end + 1) : NULL;
            if (found) return found;
            p = end + 1;
            continue;
        }
        if (!holds) return NULL;
        s++;
        p = end;
    }
    return s;
}

const char *match_at(struct match *m, const char *s, const char *p) {
    if (m->depth >= MATCH_DEPTH_MAX) luaL_error(m->L, "pattern too complex");
    m->depth++;
    const char *found = follow(m, s, p);
    m->depth--;
    return found;
}

void match_push_capture(struct match *m, int i, const char *s, const char *e) {
    if (i >= m->level) {
        if (i) luaL_error(m->L, "invalid capture index");
        lua_pushlstring(m->L, s, (size_t)(e - s));
        return;
    }
    ptrdiff_t n = m->captures[i].length;
    if (n == CAPTURE_OPEN) luaL_error(m->L, "unfinished capture");
    if (n == CAPTURE_POSITION)
        lua_pushinteger(m->L, m->captures[i].start - m->source + 1);
    else
        lua_pushlstring(m->L, m->captures[i].start, (size_t)n);
}

int match_push_captures(struct match *m, const char *s, const char *e) {
    int count = m->level == 0 && s ? 1 : m->level;
    luaL_checkstack(m->L, count + 1, "too many captures");
    for (int i = 0; i < count; i++) match_push_capture(m, i, s, e);
    return count;
}
