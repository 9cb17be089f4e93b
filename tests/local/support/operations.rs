//! What an apply can do to the server in memory; each operation is noted as a line of text.

use infra::error::{Error, Kind, Result};
use infra::manifest::ResourceId;
use infra::resources::fields::Mode;
use infra::resources::probe::{Cluster, SqlRow};
use infra::resources::{Attributes, Command, FileKind, Output, Probe, Progress, Stat, System};

use super::fake::{Fake, output};
use super::files::FakeFile;
use super::world::World;

impl System for Fake {
    fn write_file(&mut self, path: &str, content: &[u8], attributes: &Attributes) -> Result<()> {
        let mut stat = self.stat_with(path, FileKind::File, attributes, 0o644)?;
        let doing = format!("cannot write `{path}`");
        self.check_parent(path, &doing)?;
        if self.files.get(path).is_some_and(|file| file.stat.kind == FileKind::Directory) {
            return Err(Error::failed(doing).because("a directory is there"));
        }
        stat.size = content.len() as u64;
        self.note(format!("write {path} {} {} bytes", attributes_of(&stat), content.len()));
        let file = FakeFile::file(stat, content.to_owned());
        self.files.insert(path.to_owned(), file);
        Ok(())
    }

    fn copy_file(&mut self, from: &str, to: &str, attributes: &Attributes) -> Result<()> {
        let content = self.read(from)?;
        let content = content.ok_or_else(|| Error::failed(format!("`{from}` is not a file")))?;
        self.write_file(to, &content, attributes)
    }

    fn copy_whole(&mut self, from: &str, to: &str, attributes: &Attributes) -> Result<Stat> {
        let stat =
            self.stat(from)?.ok_or_else(|| Error::failed(format!("`{from}` is not a file")))?;
        self.copy_file(from, to, attributes)?;
        Ok(stat)
    }

    fn make_directory(&mut self, path: &str, attributes: &Attributes) -> Result<()> {
        let stat = self.stat_with(path, FileKind::Directory, attributes, 0o755)?;
        let doing = format!("cannot make the directory `{path}`");
        self.check_parent(path, &doing)?;
        if self.files.get(path).is_some_and(|file| file.stat.kind != FileKind::Directory) {
            return Err(Error::failed(doing).because("something else is there"));
        }
        self.note(format!("make directory {path} {}", attributes_of(&stat)));
        self.files.insert(path.to_owned(), FakeFile { stat, ..FakeFile::directory() });
        Ok(())
    }

    fn make_symlink(&mut self, path: &str, target: &str) -> Result<()> {
        let doing = format!("cannot make the symlink `{path}`");
        self.check_parent(path, &doing)?;
        if self.files.get(path).is_some_and(|file| file.stat.kind == FileKind::Directory) {
            return Err(Error::failed(doing).because("a directory is there"));
        }
        self.note(format!("make symlink {path} -> {target}"));
        self.files.insert(path.to_owned(), FakeFile::symlink(target));
        Ok(())
    }

    fn set_attributes(&mut self, path: &str, attributes: &Attributes) -> Result<()> {
        let doing = || format!("cannot set the owner or mode of `{path}`");
        let Some(file) = self.files.get(path) else {
            return Err(Error::failed(doing()).because("No such file or directory (os error 2)"));
        };
        let size = file.stat.size;
        let stat = Stat { size, ..self.stat_with(path, file.stat.kind, attributes, 0o644)? };
        self.note(format!("set {path} {}", attributes_of(&stat)));
        if let Some(file) = self.files.get_mut(path) {
            file.stat = stat;
        }
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<()> {
        self.note(format!("rename {from} {to}"));
        let below = format!("{from}/");
        let moved: Vec<String> = self
            .files
            .keys()
            .filter(|path| *path == from || path.starts_with(&below))
            .cloned()
            .collect();
        for path in moved {
            if let Some(file) = self.files.remove(&path) {
                self.files.insert(path.replacen(from, to, 1), file);
            }
        }
        Ok(())
    }

    fn remove_file(&mut self, path: &str) -> Result<()> {
        self.note(format!("remove file {path}"));
        self.files.remove(path);
        Ok(())
    }

    fn remove_directory(&mut self, path: &str) -> Result<()> {
        if self.list(path)?.is_some_and(|names| !names.is_empty()) {
            return Err(Error::failed(format!("cannot remove the directory `{path}`"))
                .because("it is not empty"));
        }
        self.note(format!("remove directory {path}"));
        self.files.remove(path);
        Ok(())
    }

    fn remove_tree(&mut self, path: &str) -> Result<()> {
        self.note(format!("remove tree {path}"));
        self.remove_below(path);
        Ok(())
    }

    fn run(&mut self, command: &Command) -> Result<Output> {
        let answer = self.answer(command)?.cloned();
        self.note(described(command));
        if let Some(then) = answer.as_ref().and_then(|answer| answer.then.as_ref()) {
            self.patch(then);
        } else if answer.as_ref().is_none_or(|answer| answer.status == 0) {
            self.systemctl(&command.argv);
        }
        if let Some(later) = answer.as_ref().and_then(|answer| answer.later.clone()) {
            self.to_come.push((later.milliseconds, later.world));
        }
        Ok(answer.as_ref().map(output).unwrap_or_default())
    }

    fn run_with_status(
        &mut self,
        command: &Command,
        _: &mut dyn FnMut(&mut dyn Progress, &str),
    ) -> Result<Output> {
        self.run(command)
    }

    fn sql_execute(
        &mut self,
        cluster: &Cluster,
        database: &str,
        sql: &str,
        parameters: &[&str],
    ) -> Result<Vec<SqlRow>> {
        let answer = match self.sql_answer(cluster, database, sql, parameters) {
            Ok(answer) => Some(answer.clone()),
            Err(error) if error.kind == Kind::ToolMissing => return Err(error),
            Err(_) => None,
        };
        let parameters = match parameters {
            [] => String::new(),
            some => format!(" [{}]", some.join(", ")),
        };
        let at = cluster.label().map(|label| format!(" at {label}")).unwrap_or_default();
        self.note(format!("sql {database}{at}: {sql}{parameters}"));
        let Some(answer) = answer else { return Ok(Vec::new()) };
        if let Some(then) = &answer.then {
            self.patch(then);
        }
        Ok(answer.rows)
    }

    fn mark_changed(&mut self, id: &ResourceId) {
        self.changed.insert(id.clone());
    }

    fn sleep_milliseconds(&mut self, milliseconds: u32) {
        let (now, later) = std::mem::take(&mut self.to_come)
            .into_iter()
            .partition(|(left, _)| *left <= milliseconds);
        self.to_come = later;
        self.to_come.iter_mut().for_each(|(left, _)| *left -= milliseconds);
        let now: Vec<(u32, World)> = now;
        for (_, world) in &now {
            self.patch(world);
        }
    }

    fn warn(&mut self, message: &str) {
        self.note(format!("warn {message}"));
    }

    fn interrupted(&self) -> bool {
        false
    }
}

fn attributes_of(stat: &Stat) -> String {
    format!("{} {}:{}", Mode(stat.mode), stat.owner, stat.group)
}

/// The program with its arguments, and whatever is not as usual: user, folder, input, variables.
fn described(command: &Command) -> String {
    let mut parts = vec!["run".to_owned(), command.display()];
    parts.extend(command.user.iter().map(|user| format!("as {user}")));
    parts.extend(command.cwd.iter().map(|cwd| format!("in {cwd}")));
    parts.extend(command.stdin.iter().map(|input| format!("with {} bytes of input", input.len())));
    if !command.env.is_empty() {
        let names: Vec<&str> = command.env.keys().map(String::as_str).collect();
        parts.push(format!("with {}", names.join(", ")));
    }
    parts.join(" ")
}
