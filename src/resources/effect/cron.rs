//! The rules by which cron takes a file for one of jobs: it says so only in its log.

const FOLDER: &str = "/etc/cron.d/";

/// See [`super::check_job`].
///
/// # Errors
/// A lowercase phrase.
pub(in crate::resources) fn check(
    path: &str,
    owner: &str,
    mode: u32,
    content: Option<&[u8]>,
) -> Result<(), String> {
    let Some(name) = path.strip_prefix(FOLDER).filter(|name| !name.contains('/')) else {
        return Ok(());
    };
    // Debian keeps the folder by such a file.
    if name.starts_with('.') {
        return Ok(());
    }
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_') {
        return Err(format!("cron ignores `{name}`: only letters, digits, `-` and `_` are read"));
    }
    if owner != "root" {
        return Err(format!("cron ignores `{path}` unless it belongs to `root`"));
    }
    if mode & 0o022 != 0 {
        return Err(format!("cron ignores `{path}` where others than its owner can write to it"));
    }
    if content.is_some_and(|content| !content.is_empty() && !content.ends_with(b"\n")) {
        return Err(format!("cron ignores `{path}` without a line break at its end"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_cron_would_ignore() {
        let job: Option<&[u8]> = Some(b"@daily root true\n");
        assert_eq!(check("/etc/cron.d/backup", "root", 0o644, job), Ok(()));
        assert_eq!(check("/etc/cron.daily/backup.sh", "root", 0o775, job), Ok(()));
        for (path, owner, mode, content, message) in [
            (
                "/etc/cron.d/backup.cron",
                "root",
                0o644,
                job,
                "cron ignores `backup.cron`: only letters, digits, `-` and `_` are read",
            ),
            (
                "/etc/cron.d/backup",
                "deploy",
                0o644,
                job,
                "cron ignores `/etc/cron.d/backup` unless it belongs to `root`",
            ),
            (
                "/etc/cron.d/backup",
                "root",
                0o664,
                job,
                "cron ignores `/etc/cron.d/backup` where others than its owner can write to it",
            ),
            (
                "/etc/cron.d/backup",
                "root",
                0o644,
                Some(b"@daily root true"),
                "cron ignores `/etc/cron.d/backup` without a line break at its end",
            ),
        ] {
            assert_eq!(check(path, owner, mode, content), Err(message.to_owned()));
        }
    }
}
