//! Messages about mistakes, word for word.
//!
//! A case is a folder in `tests/local/diagnostics/`: a project (`inventory/`, `roles/` …), the
//! arguments in `args.txt` (`check all` if there is none) and what `infra` says in `stderr.txt`.
//! `UPDATE=1 cargo test --test local diagnostics` writes that file anew; read it before you keep it.

use crate::transcript::Transcript;

#[test]
fn every_mistake_is_told_word_for_word() {
    Transcript::Error.check_all("tests/local/diagnostics");
}
