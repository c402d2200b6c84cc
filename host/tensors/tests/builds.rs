//! An integration test makes cargo build the library, so that `cargo test --workspace` has it for the tests of all plugins.

#[test]
fn the_library_lies_beside_the_tests() {
    let program = std::env::current_exe().unwrap();
    let library = program.with_file_name(plugin_api::contract::TENSORS_FILE);
    assert!(library.is_file(), "{}", library.display());
}
