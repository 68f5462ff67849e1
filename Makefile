# tuma: build, test, demo. `make deps all test demo` on a bare Debian 12.
#   make SAN=address test   the same with sanitizers (address also means UBSan; or thread)
#   make O=/tmp/x …         build elsewhere
#   make coverage           what the tests execute of core/; fails when it is less than it was

VERSION := 0.1.0
PREFIX  ?= /usr/local
DESTDIR ?=
SAN     ?=
O       ?= build$(if $(SAN),-$(SAN))

CC       ?= cc
PACKAGES := libuv libcurl libcares sqlite3 libssl libcrypto libseccomp
WARN     := -Wall -Wextra -Wshadow -Wconversion
comma    := ,
SANFLAGS := $(if $(filter address,$(SAN)),-fsanitize=address$(comma)undefined -fno-sanitize-recover=undefined) \
            $(if $(filter thread,$(SAN)),-fsanitize=thread)
CFLAGS   ?= -O2 -g
CPPFLAGS_ALL := -D_GNU_SOURCE -DTUMA_VERSION='"$(VERSION)"' -Icore -I$(O) -isystem /usr/include/luajit-2.1 \
                -isystem /usr/share/include/llhttp $(shell pkg-config --cflags $(PACKAGES) 2>/dev/null)
CFLAGS_ALL   := -std=c11 -pthread $(WARN) $(CFLAGS) $(SANFLAGS) -fno-omit-frame-pointer $(CPPFLAGS_ALL) $(CPPFLAGS)
# LuaJIT and cjson statically: other Debian packages replace the shared LuaJIT.
LIBS := -l:libluajit-5.1.a -l:liblua5.1-cjson.a $(shell pkg-config --libs $(PACKAGES) 2>/dev/null) -lm -ldl -pthread

MODULES := $(basename $(notdir $(wildcard core/*.c)))
OBJECTS := $(MODULES:%=$(O)/core/%.o) $(O)/llhttp.o
TESTS   := $(basename $(notdir $(wildcard tests/unit/*.c)))
FUZZERS := $(basename $(notdir $(wildcard tests/fuzz/*.c)))

.PHONY: all deps test unit check tsan coverage bench demo floors lint format fuzz crash soak install clean
.SECONDARY:

all: $(O)/tuma

$(O)/tuma: $(OBJECTS)
	$(CC) $(CFLAGS_ALL) -rdynamic -o $@ $^ $(LIBS)

$(O)/core/%.o: core/%.c Makefile
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

# Its .incbin lines are no includes that -MMD would see.
$(O)/core/embedded.o: $(wildcard lua/*.lua)

# llhttp's C sources come with Debian's node-llhttp; they are theirs, so no warnings.
$(O)/llhttp.o: /usr/share/llhttp/llhttp.c /usr/share/llhttp/api.c /usr/share/llhttp/http.c
	@mkdir -p $(@D)
	for f in $^; do $(CC) $(CFLAGS) $(SANFLAGS) -w -DLLHTTP_STRICT_MODE=1 -I/usr/share/include/llhttp -c -o $(O)/llhttp-$$(basename $$f .c).o $$f; done
	ld -r -o $@ $(foreach f,llhttp api http,$(O)/llhttp-$(f).o)

# A unit test links its module's files and the floors below, nothing else.
below = $(foreach f,$(shell sh tests/floors.sh below $(1)),$(O)/core/$(f).o)
$(O)/tests/%.o: tests/unit/%.c Makefile
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -Itests -MMD -MP -c -o $@ $<
.SECONDEXPANSION:
$(O)/tests/test_%: $(O)/tests/test_%.o $$(call below,$$*) $(O)/llhttp.o
	$(CC) $(CFLAGS_ALL) -o $@ $^ $(LIBS)

unit: $(TESTS:%=$(O)/tests/%)

# The README's command, so it installs what is missing first.
test: deps
	$(MAKE) all unit
	python3 tests/run.py --build $(O)

check:
	$(MAKE) SAN=address test

tsan:
	$(MAKE) SAN=thread test

# Clang, since it can keep its counters in mapped files: they outlast SIGKILL, and script
# processes, which may open nothing, count too.
COVER := $(abspath $(O)-coverage)
coverage: DEPS += llvm
coverage: deps
	rm -rf $(COVER)/profile
	$(MAKE) CC=clang O=$(COVER) CFLAGS="-O1 -g -fprofile-instr-generate=$(COVER)/profile/%m%c.profraw -fprofile-update=atomic \
	    -fcoverage-mapping -mllvm -runtime-counter-relocation -Wno-unused-command-line-argument" all unit
	TUMA_PLACES="start work run" python3 tests/run.py --build $(COVER) --seconds 400
	python3 tests/coverage.py $(COVER)

bench: all
	bench/run.sh $(O)/tuma

demo: deps
	$(MAKE) all
	python3 tests/demo.py $(O)/tuma

floors:
	sh tests/floors.sh

lint:
	clang-format --dry-run --Werror core/*.[ch] $(wildcard tests/unit/*.c tests/fuzz/*.c tests/*.h)
	cppcheck --quiet -j2 --error-exitcode=1 --std=c11 --enable=warning,portability --inline-suppr -Icore --suppressions-list=.cppcheck core
	luacheck --quiet lua scripts

format:
	clang-format -i core/*.[ch] $(wildcard tests/unit/*.c tests/fuzz/*.c tests/*.h)

# libFuzzer targets; FUZZ_SECONDS each, corpora in tests/fuzz/corpus/NAME.
FUZZ_SECONDS ?= 20
fuzz:
	$(MAKE) CC=clang O=build-fuzz SAN=address CFLAGS="-O1 -g -fsanitize=fuzzer-no-link" $(FUZZERS:%=build-fuzz/fuzz/%)
	printf '%s\n' $(FUZZERS) | xargs -P 2 -I F sh -c 'mkdir -p build-fuzz/corpus/F tests/fuzz/corpus/F && \
	    build-fuzz/fuzz/F -max_total_time=$(FUZZ_SECONDS) -max_len=65536 -timeout=10 -verbosity=0 \
	        build-fuzz/corpus/F tests/fuzz/corpus/F && echo "fuzz F: ok"'
$(O)/fuzz/%: tests/fuzz/%.c $(filter-out $(O)/core/main.o,$(OBJECTS))
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -fsanitize=fuzzer -Itests -o $@ $^ $(LIBS)

crash: all
	python3 tests/crash/store.py --long --build $(O)
	TUMA=$(O)/tuma python3 tests/crash/kill.py --kills 1000
	TUMA=$(O)/tuma python3 tests/crash/memory.py --points 2000

# Mixed faults for MINUTES; the table and the plot land beside the other figures.
MINUTES ?= 60
soak: all
	TUMA=$(abspath $(O)/tuma) python3 tests/crash/soak.py --minutes $(MINUTES) --out bench/soak

# apt-get only when something is missing; sudo only when not root.
DEPS := build-essential pkg-config python3 procps e2fsprogs iproute2 nftables libluajit-5.1-dev luajit lua-cjson-dev libuv1-dev libcurl4-openssl-dev \
        libsqlite3-dev libc-ares-dev libssl-dev libseccomp-dev node-llhttp libcjson-dev clang clang-format cppcheck \
        lua-check libclang-rt-14-dev openssl golang-go golang-github-valyala-fasttemplate-dev nodejs wrk
deps:
	@missing=$$(for p in $(DEPS); do dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || echo $$p; done); \
	if [ -n "$$missing" ]; then \
	    sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	    $$sudo apt-get update -q && DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -qy --no-install-recommends $$missing; \
	fi

install: all
	install -D -m 755 $(O)/tuma $(DESTDIR)$(PREFIX)/bin/tuma
	install -D -m 644 core/install/tuma.1 $(DESTDIR)$(PREFIX)/share/man/man1/tuma.1
	install -D -m 644 core/install/tuma.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/tuma
	mkdir -p $(DESTDIR)$(PREFIX)/lib/systemd/system
	sed 's|@PREFIX@|$(PREFIX)|' core/install/tuma.service > $(DESTDIR)$(PREFIX)/lib/systemd/system/tuma.service

clean:
	rm -rf build build-*

-include $(OBJECTS:.o=.d) $(TESTS:%=$(O)/tests/%.d)
