<?php

// A stand-in for the applications of Flus: it reads `.env`, keeps its schema's version in
// `data/migrations_version.txt`, and uses PostgreSQL where `DB_HOST` is set, else SQLite.

class ConfigurationError extends Exception
{
}

class MigrationError extends Exception
{
}

function setup_locale(): void
{
    if (setlocale(LC_ALL, 'fr_FR.UTF-8') === false) {
        throw new RuntimeException('The locale is invalid.');
    }
}

class App
{
    public array $env;
    public string $version;

    public function __construct(private string $root)
    {
        $this->env = $this->dotenv("{$root}/.env");
        $this->version = trim(file_get_contents("{$root}/version"));
        if (strlen($this->env['APP_SECRET_KEY'] ?? '') < 64) {
            throw new ConfigurationError('APP_SECRET_KEY must have at least 64 characters');
        }
    }

    /** The same rules as Minz: `KEY=value`, optional quotes, the first `=` splits. */
    private function dotenv(string $path): array
    {
        if (!is_readable($path)) {
            throw new ConfigurationError("{$path} cannot be read");
        }
        $env = [];
        foreach (explode("\n", file_get_contents($path)) as $line) {
            $line = trim($line);
            if ($line === '' || $line[0] === '#') {
                continue;
            }
            [$name, $value] = explode('=', $line, 2) + [1 => ''];
            $value = trim($value);
            $quote = substr($value, 0, 1);
            if (strlen($value) > 1 && ($quote === '"' || $quote === "'") && substr($value, -1) === $quote) {
                $value = substr($value, 1, -1);
            }
            $env[trim($name)] = $value;
        }
        return $env;
    }

    public function isPostgresql(): bool
    {
        return isset($this->env['DB_HOST']);
    }

    public function database(): PDO
    {
        if ($this->isPostgresql()) {
            $dsn = "pgsql:host={$this->env['DB_HOST']};port={$this->env['DB_PORT']};dbname={$this->env['DB_NAME']}";
            $pdo = new PDO($dsn, $this->env['DB_USERNAME'], $this->env['DB_PASSWORD']);
        } else {
            $pdo = new PDO("sqlite:{$this->root}/data/db.sqlite");
        }
        $pdo->setAttribute(PDO::ATTR_ERRMODE, PDO::ERRMODE_EXCEPTION);
        return $pdo;
    }

    /** Without the version file it begins anew and empties the database, as flusio v0.44 does. */
    public function setup(): string
    {
        $path = $this->versionFile();
        $known = $this->migrations();
        $applied = $this->applied($known);
        $database = $this->database();
        if (!is_file($path)) {
            foreach ($known as $name) {
                $database->exec('DROP TABLE IF EXISTS ' . $name::TABLE);
            }
        }
        $fresh = array_diff($known, $applied);
        foreach ($fresh as $name) {
            (new $name())->migrate($database);
        }
        file_put_contents($path, implode("\n", $known) . "\n");
        return $fresh ? 'migrations applied: ' . implode(', ', $fresh) : 'already up to date';
    }

    /** Undoes the last migrations that ran, the newest first. */
    public function rollback(int $steps): string
    {
        $applied = $this->applied($this->migrations());
        $database = $this->database();
        $undone = [];
        for ($step = 0; $step < $steps && $applied; $step++) {
            $name = array_pop($applied);
            (new $name())->rollback($database);
            $undone[] = $name;
            file_put_contents($this->versionFile(), implode("\n", $applied) . "\n");
        }
        return 'migrations rolled back: ' . implode(', ', $undone);
    }

    private function versionFile(): string
    {
        return "{$this->root}/data/migrations_version.txt";
    }

    /** The migrations that this release knows. */
    private function migrations(): array
    {
        $known = [];
        foreach (glob("{$this->root}/src/migrations/*.php") as $file) {
            require_once $file;
            $known[] = basename($file, '.php');
        }
        return $known;
    }

    /** The migrations that ran; all of them must be known. */
    private function applied(array $known): array
    {
        $path = $this->versionFile();
        $applied = is_file($path) ? array_filter(explode("\n", file_get_contents($path))) : [];
        foreach (array_diff($applied, $known) as $name) {
            throw new MigrationError("{$name} does not exist");
        }
        return $applied;
    }

    public function count(): int
    {
        return (int) $this->database()->query('SELECT COUNT(*) FROM items')->fetchColumn();
    }
}
