//! A panic must be able to unwind to the guard at the boundary: with `panic = "abort"` it would end the host.

#[cfg(panic = "abort")]
compile_error!(
    "decurion must be built with panic = \"unwind\": a caught panic becomes DCN_ERR_PANICKED, an abort would end the host"
);
