//! The lines that an error shows of what a program said, by cases: `tests/local/excerpts/<case>.yaml`.
//!
//! ```yaml
//! lines: 15     # how many lines an error shows at most
//! said: …       # what the program said
//! shown: …      # what the error shows of it
//! ```

use std::path::Path;

use infra::resources::Output;
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    lines: usize,
    said: String,
    shown: String,
}

#[test]
fn every_case_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/local/excerpts");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let case: Case = serde_yaml::from_str(&text)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let output = Output { status: 1, stdout: Vec::new(), stderr: case.said.into_bytes() };
        assert_eq!(output.tail(case.lines), case.shown, "{}", path.display());
        seen += 1;
    }
    assert!(seen > 0, "no case");
}
