//! Merging two changes of a text line by line, as git does. Comments are kept so: a merge of values
//! knows nothing of them.

use similar::{Algorithm, DiffOp, capture_diff_slices};

/// The text with the changes that `ours` and `theirs` have made of `base`. Where both have changed
/// the same lines it has ours, below comments that are new in theirs.
pub(super) fn merged(base: &str, ours: &str, theirs: &str) -> String {
    let lines = |text| str::split_inclusive(text, '\n').collect::<Vec<_>>();
    let (base, ours, theirs) = (lines(base), lines(ours), lines(theirs));
    let (in_ours, in_theirs) = (places(&base, &ours), places(&base, &theirs));
    let (mut text, mut from) = (String::new(), (0, 0, 0));
    let both = in_ours.iter().zip(&in_theirs).enumerate();
    let same = both.filter_map(|(line, (ours, theirs))| Some((line, (*ours)?, (*theirs)?)));
    let end = (base.len(), ours.len(), theirs.len());
    for to in same.chain(std::iter::once(end)) {
        let changed = resolved(&base[from.0..to.0], &ours[from.1..to.1], &theirs[from.2..to.2]);
        for line in changed.into_iter().chain(base.get(to.0).copied()) {
            // The last line of a text may have no end.
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
            text.push_str(line);
        }
        from = (to.0 + 1, to.1 + 1, to.2 + 1);
    }
    text
}

/// For each line of `old` where it is in `new`, if it is there still.
fn places(old: &[&str], new: &[&str]) -> Vec<Option<usize>> {
    let mut places = vec![None; old.len()];
    for op in capture_diff_slices(Algorithm::Myers, old, new) {
        if let DiffOp::Equal { old_index, new_index, len } = op {
            for offset in 0..len {
                places[old_index + offset] = Some(new_index + offset);
            }
        }
    }
    places
}

fn resolved<'a>(base: &[&'a str], ours: &[&'a str], theirs: &[&'a str]) -> Vec<&'a str> {
    if ours == base {
        return theirs.to_vec();
    }
    if theirs == base || theirs == ours {
        return ours.to_vec();
    }
    let is_new = |line: &&&str| is_comment(line) && !base.contains(line) && !ours.contains(line);
    theirs.iter().filter(is_new).chain(ours).copied().collect()
}

/// Whether a line is a comment.
pub(super) fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_either_has_changed() {
        for (base, ours, theirs, wanted) in [
            ("a\nb\nc\n", "a\nb\nc\n", "a\nB\nc\n", "a\nB\nc\n"),
            ("a\nb\nc\n", "# x\na\nb\nc\n", "a\nb\nc\n# y\n", "# x\na\nb\nc\n# y\n"),
            ("a\nb\nc\n", "A\nb\nc\n", "a\nb\nC", "A\nb\nC"),
            ("a\n", "# x\na\n", "# y\na\n", "# y\n# x\na\n"),
            ("a\n", "b\n", "# y\nc\n", "# y\nb\n"),
            ("", "a\n", "a\n", "a\n"),
            ("a", "a", "a\nb\n", "a\nb\n"),
        ] {
            assert_eq!(merged(base, ours, theirs), wanted, "{base:?} {ours:?} {theirs:?}");
        }
    }
}
