//! Benchmarks of Alambic, one subject a file in `benches/`; run them with `cargo bench`.
