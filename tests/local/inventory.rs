//! Reading an inventory: precedence, origins, what belongs to what.
//!
//! A case is a folder in `tests/local/inventory/`: a project, the arguments in `args.txt` and what
//! `infra` prints in `stdout.txt`. `UPDATE=1 cargo test --test local inventory` writes that file anew.

use crate::transcript::Transcript;

#[test]
fn inventories_are_read_as_documented() {
    Transcript::Output.check_all("tests/local/inventory");
}
