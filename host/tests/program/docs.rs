//! What the documentation repeats from the code must match the code.

use std::path::Path;

/// `docs/summary.schema.json`; written anew when `ALAMBIC_UPDATE_DOCS` is set.
#[test]
fn the_summary_schema_in_the_documents_is_the_programs() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/summary.schema.json");
    let schema = alambic::report::summary::summary_schema() + "\n";
    if std::env::var_os("ALAMBIC_UPDATE_DOCS").is_some() {
        std::fs::write(&path, &schema).unwrap();
    }
    let documented = std::fs::read_to_string(&path).unwrap();
    assert!(
        documented == schema,
        "set ALAMBIC_UPDATE_DOCS=1 and run this test again to bring it up to date"
    );
}
