//! What the shared library says of itself to the linker.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let os = std::env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    if os == "linux" {
        // The major of DCN_ABI_VERSION: programs ask for this name, so an incompatible library is not taken for this one.
        println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libdecurion.so.0");
        // Its threads and fork handlers would outlive an unloading.
        println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}
