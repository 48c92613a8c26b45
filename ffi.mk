# The C face: header, its tests, and installation. Included by the Makefile.

PREFIX     ?= /usr/local
LIBDIR     ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
DESTDIR    ?=

.PHONY: header test-c install uninstall

header: ## Writes include/decurion.h from the source.
	DECURION_WRITE_HEADER=1 $(CARGO) test --locked --test ffi_header the_committed_header
