//! How the process ends: documented numbers that scripts may rely on.

use crate::error::{Error, Kind};

/// The result of a run in one number.
///
/// The order is that of [`ExitCode::merge`]: of several servers the greatest is reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum ExitCode {
    /// 0: done, or there was nothing to do.
    #[default]
    Done,
    /// 2: `diff` found changes.
    Pending,
    /// 5: another run holds the lock of a server.
    Locked,
    /// 4: a server could not be reached, or did not let us in.
    Unreachable,
    /// 6: the guard put a change back, because a new connection did not work.
    Reverted,
    /// 3: a resource or a server failed.
    Failed,
    /// 1: what the user wrote or asked for is wrong; nothing was changed.
    Input,
    /// 130: the user stopped the run.
    Interrupted,
}

impl ExitCode {
    /// The number that the shell sees.
    pub fn number(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Input => 1,
            Self::Pending => 2,
            Self::Failed => 3,
            Self::Unreachable => 4,
            Self::Locked => 5,
            Self::Reverted => 6,
            Self::Interrupted => 130,
        }
    }

    /// What a run over several servers ends with: the worst of their results.
    pub fn merge(self, other: Self) -> Self {
        self.max(other)
    }

    /// What an error ends with. One that names no [`Kind`] comes from reading the project or the
    /// arguments, unless the system itself refused something.
    pub fn of_error(error: &anyhow::Error) -> Self {
        if let Some(error) = error.chain().find_map(|cause| cause.downcast_ref::<Error>()) {
            return error.kind.into();
        }
        if error.chain().any(<dyn std::error::Error>::is::<std::io::Error>) {
            Self::Failed
        } else {
            Self::Input
        }
    }
}

impl From<Kind> for ExitCode {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Input => Self::Input,
            Kind::Failed | Kind::TimedOut | Kind::ToolMissing => Self::Failed,
            Kind::Unreachable => Self::Unreachable,
            Kind::Locked => Self::Locked,
            Kind::Reverted => Self::Reverted,
            Kind::Interrupted => Self::Interrupted,
        }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        code.number().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_server_decides() {
        use ExitCode::{Done, Failed, Interrupted, Locked, Pending, Unreachable};
        let run = |codes: &[ExitCode]| codes.iter().copied().fold(Done, ExitCode::merge);
        assert_eq!(run(&[Done, Pending, Done]), Pending);
        assert_eq!(run(&[Failed, Unreachable, Pending]), Failed);
        assert_eq!(run(&[Locked, Unreachable]), Unreachable);
        assert_eq!(run(&[Interrupted, Failed]), Interrupted);
    }

    #[test]
    fn an_error_decides_by_its_kind() {
        let error = anyhow::Error::new(Error::new(Kind::Locked, "`rufus` is locked"));
        assert_eq!(ExitCode::of_error(&error.context("cannot apply")), ExitCode::Locked);
        assert_eq!(ExitCode::of_error(&anyhow::anyhow!("no such server")), ExitCode::Input);
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        assert_eq!(ExitCode::of_error(&full.into()), ExitCode::Failed);
    }
}
