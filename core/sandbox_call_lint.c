// What a script names that is not there: a misspelt global, host module, function of one,
// member of the event, tag. Lua says so only when the line runs, which may be months later.
//
// No parser: the file compiled, so its words tell enough. A name counts as known when it is
// declared anywhere in the file; what is missed that way is less bad than a false alarm. The
// globals and modules are the state's own, so nothing has to be kept in step with them.
#include <ctype.h>
#include <stdio.h>

#include "catalog.h"
#include "sandbox_call.h"
#include "script_wire.h"

enum { REMARKS_MAX = 20, WORDS_MAX = 512 };

struct token {
    enum { END, NAME, TEXT, SIGN } kind;
    struct slice text; // of a TEXT, what stands between its quotes
};

struct lint {
    lua_State *L;
    struct slice joined, source; // with the shared files, and without
    size_t at;
    int params, locals, keys; // tables on the stack: names that are declared; names before an '='
    struct token before, token, after;
    struct buf *out;
    unsigned remarks;
};

// --- words ---

static bool is_word(char c) {
    return isalnum((unsigned char)c) || c == '_';
}

// The length of "[[…]]", "[==[…]==]" at `at`, 0 when none opens there.
static size_t long_bracket(struct slice source, size_t at, struct slice *inside) {
    size_t level = at + 1, close;
    while (level < source.n && source.p[level] == '=') level++;
    if (source.p[at] != '[' || level >= source.n || source.p[level] != '[') return 0;
    for (close = level + 1; close < source.n; close++) {
        size_t n = level - at; // the closing one is as long: ]==]
        if (source.p[close] != ']' || close + n >= source.n || source.p[close + n] != ']') continue;
        if (memcmp(source.p + close + 1, source.p + at + 1, n - 1) == 0) break;
    }
    *inside = slice(source.p + level + 1, close - level - 1);
    return close + (level - at) + 1 - at;
}

static size_t quoted(struct slice source, size_t at) {
    size_t end = at + 1;
    while (end < source.n && source.p[end] != source.p[at]) end += source.p[end] == '\\' ? 2 : 1;
    return end < source.n ? end + 1 - at : source.n - at;
}

static void skip_blanks(struct lint *l) {
    struct slice s = l->source, inside;
    while (l->at < s.n) {
        if (isspace((unsigned char)s.p[l->at])) {
            l->at++;
        } else if (slice_starts(slice_from(s, l->at), S("--"))) {
            size_t n = l->at + 2 < s.n ? long_bracket(s, l->at + 2, &inside) : 0;
            l->at += n ? 2 + n : slice_find(slice_from(s, l->at), '\n');
        } else {
            return;
        }
    }
}

static struct token scan(struct lint *l) {
    struct slice s = l->source, inside;
    skip_blanks(l);
    if (l->at >= s.n) return (struct token){ .kind = END };
    size_t from = l->at, n = 1;
    char c = s.p[from];
    if (is_word(c)) {
        while (from + n < s.n && is_word(s.p[from + n])) n++;
        l->at += n;
        return (struct token){ isdigit((unsigned char)c) ? SIGN : NAME, slice(s.p + from, n) };
    }
    if (c == '"' || c == '\'') {
        l->at += n = quoted(s, from);
        return (struct token){ TEXT, slice(s.p + from + 1, n > 2 ? n - 2 : 0) };
    }
    if (c == '[' && (n = long_bracket(s, from, &inside)) != 0) {
        l->at += n;
        return (struct token){ TEXT, inside };
    }
    n = 1;
    while (n < 3 && from + n < s.n && strchr(".=:", s.p[from + n]) &&
           (s.p[from + n] == c || s.p[from + n] == '=') && strchr(".=:~<>", c))
        n++;
    l->at += n;
    return (struct token){ SIGN, slice(s.p + from, n) };
}

static bool next(struct lint *l) {
    l->before = l->token;
    l->token = l->after;
    l->after = scan(l);
    return l->token.kind != END;
}

static void rewind_to_start(struct lint *l) {
    l->at = slice_starts(l->source, S("\xEF\xBB\xBF")) ? 3 : 0;
    if (slice_starts(slice_from(l->source, l->at), S("#"))) // as Lua does
        l->at += slice_find(slice_from(l->source, l->at), '\n');
    l->token = (struct token){ .kind = SIGN };
    l->after = scan(l);
}

static bool is(struct token token, const char *text) {
    return token.kind != TEXT && slice_eq(token.text, slice_str(text));
}

// --- names that the file itself makes known ---

static void declare(struct lint *l, int table, struct token token) {
    lua_pushlstring(l->L, token.text.p, token.text.n);
    lua_pushboolean(l->L, 1);
    lua_rawset(l->L, table);
}

static bool declared(struct lint *l, int table, struct slice name) {
    lua_pushlstring(l->L, name.p, name.n);
    lua_rawget(l->L, table);
    bool found = !lua_isnil(l->L, -1);
    lua_pop(l->L, 1);
    return found;
}

// Names with commas between them, from the word after the current one on.
static void declare_list(struct lint *l, int table) {
    while (l->after.kind == NAME) {
        declare(l, table, l->after);
        next(l);
        if (!is(l->after, ",")) return;
        next(l);
    }
}

static void find_declarations(struct lint *l) {
    rewind_to_start(l);
    while (next(l)) {
        if (l->token.kind == NAME && is(l->after, "=")) declare(l, l->keys, l->token);
        if (is(l->token, "for")) declare_list(l, l->locals);
        if (is(l->token, "local") && is(l->after, "function")) {
            next(l);
            declare(l, l->locals, l->after);
        } else if (is(l->token, "local")) {
            declare_list(l, l->locals);
        }
        if (!is(l->token, "function")) continue;
        while (l->token.kind != END && !is(l->token, "(")) next(l);
        declare_list(l, l->params);
    }
}

// --- remarks ---

struct words {
    struct slice list[WORDS_MAX];
    size_t count;
};

static void add_words(lua_State *L, int table, struct words *words) {
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING || words->count == WORDS_MAX) continue;
        struct slice *word = &words->list[words->count++];
        word->p = lua_tolstring(L, -2, &word->n);
    }
}

static void remark(struct lint *l, struct slice at, const struct words *known, const char *text) {
    char line[400];
    if (l->remarks == REMARKS_MAX) return;
    struct slice near = known ? suggest(known->list, known->count, at) : S("");
    snprintf(line, sizeof line, "%s%s%.*s%s", text, near.n ? "; did you mean " : "",
             SLICE_FMT(near), near.n ? "?" : "");
    buf_printf(l->out, "%s{\"at\":%zu,\"text\":", l->remarks++ ? "," : "",
               (size_t)(at.p - l->source.p));
    buf_json(l->out, slice_str(line));
    buf_byte(l->out, '}');
}

// The parent has the catalogue: it says whether the tag is known.
static void remark_tag(struct lint *l, struct slice name) {
    if (l->remarks == REMARKS_MAX || declared(l, l->keys, name)) return;
    buf_printf(l->out, "%s{\"at\":%zu,\"tag\":", l->remarks++ ? "," : "",
               (size_t)(name.p - l->source.p));
    buf_json(l->out, name);
    buf_byte(l->out, '}');
}

static bool is_tag(struct slice name) {
    for (size_t i = 0; i < name.n; i++)
        if (!isupper((unsigned char)name.p[i]) && (i == 0 || islower((unsigned char)name.p[i])))
            return false;
    return name.n > 0;
}

// What stages get, by the names that everybody gives it (classes in lua/api.lua).
static const struct {
    const char *name, *members[9];
} classes[] = {
    { "event", { "type", "id", "org", "time", "tags", "number" } },
    { "request", { "method", "url", "query", "headers", "body", "clone" } },
    { "response",
      { "status", "attempt", "headers", "body", "retry_after", "error_type", "error" } },
    { "delivery", { "id", "attempts", "webhook", "status", "error_type", "error", "response" } },
};

static void look_at_member(struct lint *l, struct slice owner, struct words *words) {
    char text[200];
    bool known = false;
    next(l);
    if (l->after.kind != NAME) return;
    next(l);
    struct slice member = l->token.text;
    for (size_t i = 0; i < words->count; i++) known = known || slice_eq(words->list[i], member);
    if (known || is(l->after, "=")) return;
    snprintf(text, sizeof text, "%.*s has no %.*s", (int)(owner.n < 64 ? owner.n : 64), owner.p,
             (int)(member.n < 64 ? member.n : 64), member.p);
    remark(l, member, words, text);
}

// event.TAG, event:number("TAG"), response.status
static void look_at_param(struct lint *l) {
    struct words words = { .count = 0 };
    struct slice name = l->token.text;
    bool event = slice_eq(name, S("event"));
    if (declared(l, l->locals, name) || (!is(l->after, ".") && !is(l->after, ":"))) return;
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        for (size_t k = 0; slice_eq(name, slice_str(classes[i].name)) && classes[i].members[k]; k++)
            words.list[words.count++] = slice_str(classes[i].members[k]);
    if (!words.count) return;
    struct lint ahead = *l; // what follows the dot decides
    next(&ahead);
    if (event && ahead.after.kind == NAME && is_tag(ahead.after.text)) {
        remark_tag(l, ahead.after.text);
        return;
    }
    look_at_member(l, name, &words);
    if (!event || !is(l->token, "number")) return;
    if (is(l->after, "(")) next(l);
    if (l->after.kind == TEXT && is_tag(l->after.text)) remark_tag(l, l->after.text);
}

static void look_at_required(struct lint *l) {
    struct slice name = l->after.text, source;
    struct words words = { .count = 0 };
    char text[200];
    if (is(l->after, "(")) {
        struct lint ahead = *l;
        next(&ahead);
        name = ahead.after.kind == TEXT ? ahead.after.text : S("");
    }
    bool lib = slice_starts(name, S("lib."));
    struct slice stem = slice_from(name, lib ? 4 : 0);
    snprintf(text, sizeof text, "there is no %s%.*s%s", lib ? "lib/" : "module ",
             (int)(stem.n < 64 ? stem.n : 64), stem.p, lib ? ".lua" : "");
    lua_pushlstring(l->L, name.p, name.n);
    lua_rawget(l->L, LUA_GLOBALSINDEX);
    bool known = lib ? wire_source_lib(l->joined, stem, &source) : lua_istable(l->L, -1);
    if (!lib) add_words(l->L, LUA_GLOBALSINDEX, &words);
    if (name.n && !known) remark(l, name, lib ? NULL : &words, text);
    lua_pop(l->L, 1);
}

static void look_at_global(struct lint *l) {
    lua_State *L = l->L;
    char text[200];
    struct slice name = l->token.text;
    struct words words = { .count = 0 };
    lua_pushlstring(L, name.p, name.n);
    lua_rawget(L, LUA_GLOBALSINDEX);
    if (lua_isnil(L, -1)) {
        add_words(L, LUA_GLOBALSINDEX, &words);
        add_words(L, l->params, &words);
        add_words(L, l->locals, &words);
        snprintf(text, sizeof text, "there is no global %.*s", (int)(name.n < 64 ? name.n : 64),
                 name.p);
        remark(l, name, &words, text);
    } else if (lua_istable(L, -1) && is(l->after, ".")) {
        add_words(L, lua_gettop(L), &words);
        look_at_member(l, name, &words);
    } else if (slice_eq(name, S("require"))) {
        look_at_required(l);
    }
    lua_pop(L, 1);
}

static bool is_keyword(struct slice name) {
    static const char *const words[] = { "and",   "break", "do",    "else", "elseif", "end",
                                         "false", "for",   "goto",  "if",   "in",     "function",
                                         "local", "nil",   "not",   "or",   "repeat", "return",
                                         "then",  "true",  "until", "while" };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (slice_eq(name, slice_str(words[i]))) return true;
    return false;
}

static void look_at_names(struct lint *l) {
    rewind_to_start(l);
    while (next(l)) {
        struct slice name = l->token.text;
        bool part = is(l->before, ".") || is(l->before, ":") || is(l->before, "::") ||
                    is(l->before, "goto") || is(l->after, "=");
        if (l->token.kind != NAME || part || is_keyword(name)) continue;
        if (declared(l, l->params, name))
            look_at_param(l);
        else if (!declared(l, l->locals, name))
            look_at_global(l);
    }
}

void sandbox_lint(lua_State *L, struct slice source, struct buf *out) {
    struct lint l = { .L = L, .joined = source, .source = wire_source_main(source), .out = out };
    luaL_checkstack(L, 12, "no stack");
    lua_newtable(L);
    l.params = lua_gettop(L);
    lua_newtable(L);
    l.locals = l.params + 1;
    lua_newtable(L);
    l.keys = l.params + 2;
    declare(&l, l.locals, (struct token){ NAME, S("self") });
    buf_byte(out, '[');
    find_declarations(&l);
    look_at_names(&l);
    buf_byte(out, ']');
    lua_settop(L, l.params - 1);
}
