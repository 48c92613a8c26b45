# The C face: its header, its tests, the names of the libraries, and installation. Included by the Makefile.

PREFIX     ?= /usr/local
LIBDIR     ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
DESTDIR    ?=
# Hosts are built in folders of their own, so what they read must not be relative to this one.
override PREFIX     := $(abspath $(PREFIX))
override LIBDIR     := $(abspath $(LIBDIR))
override INCLUDEDIR := $(abspath $(INCLUDEDIR))

# What cargo has built, and where the static library goes that a host links.
BUILT      ?= $(or $(CARGO_TARGET_DIR),target)/release
STATIC     ?= $(BUILT)/static/libdecurion.a

# The version of the interface (DCN_ABI_VERSION): the major is the soname's.
ABI_MAJOR   := 0
ABI_MINOR   := 1
ABI_VERSION := $(ABI_MAJOR).$(ABI_MINOR).0

.PHONY: header test-c test-threads bench-c lib-names install install-files uninstall

header: ## Writes include/decurion.h from the source.
	DECURION_WRITE_HEADER=1 $(CARGO) test --locked --test ffi_header the_committed_header

test-c: ## The C face alone: header, symbols, C programs under the sanitizers and valgrind, installation.
	$(CARGO) test --locked --no-fail-fast --test 'ffi_*'

test-threads: ## The C tests under ThreadSanitizer. Needs a nightly compiler with rust-src.
	@.ci/threads

bench-c: lib ## What a call to send costs a C host: beside an engine that is awake, after a rest, by four threads at once.
	$(CC) -std=gnu99 -O2 -Wall -Wextra -Iinclude benches/c/send.c -pthread $(BUILT)/libdecurion.so -Wl,-rpath,$(abspath $(BUILT)) -o $(BUILT)/bench-send
	$(BUILT)/bench-send

$(BUILT)/libdecurion.a $(BUILT)/libdecurion.so:
	@echo "$@ is not there: run 'make lib' first" >&2; exit 1

# The name that programs ask the loader for, and the static library.
lib-names: $(STATIC)
	ln -sf libdecurion.so $(BUILT)/libdecurion.so.$(ABI_MAJOR)

# Cargo's archive has Rust's standard library in it with every name visible, which collides with the next archive of that
# kind. So all that the exports reach becomes one object, in which only they are visible.
$(STATIC): $(BUILT)/libdecurion.a include/decurion.h
	@mkdir -p $(@D)
	$(LD) -r --gc-sections --force-group-allocation -o $(@D)/decurion.o \
	    $$(sed -n 's/^[^\/].*[ *]\(dcn_[a-z_]*\)(.*/-u \1/p' include/decurion.h) $(BUILT)/libdecurion.a
	objcopy --strip-unneeded --remove-section .llvmbc --remove-section .llvmcmd \
	    --wildcard --keep-global-symbol 'dcn_*' $(@D)/decurion.o
	rm -f $@ && $(AR) rcs $@ $(@D)/decurion.o && rm $(@D)/decurion.o

install: lib ## Builds, then installs library, header, pkg-config and CMake files (PREFIX, LIBDIR, INCLUDEDIR, DESTDIR).
	@$(MAKE) --no-print-directory install-files

install-files: lib-names ## Installs what `make lib` has built, without cargo: for `sudo`.
	install -d $(DESTDIR)$(LIBDIR)/pkgconfig $(DESTDIR)$(LIBDIR)/cmake/decurion $(DESTDIR)$(INCLUDEDIR)
	install -m 644 include/decurion.h $(DESTDIR)$(INCLUDEDIR)/
	install -m 755 $(BUILT)/libdecurion.so $(DESTDIR)$(LIBDIR)/libdecurion.so.$(ABI_VERSION)
	ln -sf libdecurion.so.$(ABI_VERSION) $(DESTDIR)$(LIBDIR)/libdecurion.so.$(ABI_MAJOR)
	ln -sf libdecurion.so.$(ABI_MAJOR) $(DESTDIR)$(LIBDIR)/libdecurion.so
	install -m 644 $(STATIC) $(DESTDIR)$(LIBDIR)/
	$(call fill-in,decurion.pc,pkgconfig)
	$(call fill-in,decurion-config.cmake,cmake/decurion)
	$(call fill-in,decurion-config-version.cmake,cmake/decurion)
	$(if $(DESTDIR),,$(tell-loader))

# Programs find a library in the loader's own folders by its cache, which only root may write; elsewhere there is nothing to tell.
tell-loader = @PATH="$$PATH:/usr/sbin:/sbin" ldconfig 2>/dev/null || true

define fill-in
sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@INCLUDEDIR@|$(INCLUDEDIR)|' \
    -e 's|@VERSION@|$(ABI_VERSION)|' -e 's|@MAJOR@|$(ABI_MAJOR)|' -e 's|@MINOR@|$(ABI_MINOR)|' \
    packaging/$(1).in > $(DESTDIR)$(LIBDIR)/$(2)/$(1)
endef

uninstall: ## Removes what install has put there.
	rm -f $(DESTDIR)$(INCLUDEDIR)/decurion.h $(DESTDIR)$(LIBDIR)/libdecurion.a $(DESTDIR)$(LIBDIR)/libdecurion.so*
	rm -f $(DESTDIR)$(LIBDIR)/pkgconfig/decurion.pc
	rm -rf $(DESTDIR)$(LIBDIR)/cmake/decurion
