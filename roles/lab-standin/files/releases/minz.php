<?php

// The code that the stand-ins with `php cli` share: it behaves like the framework of the real ones.

namespace Minz\Errors {
    class ConfigurationError extends \Exception
    {
    }

    class DatabaseError extends \Exception
    {
    }

    class MigrationError extends \Exception
    {
    }
}

namespace Minz {
    const DATETIME_FORMAT = 'Y-m-d H:i:sP';

    /** The settings: `.env`, the environment, and what `src/release.php` says of the release. */
    class Configuration
    {
        public static string $root;
        public static array $release;
        private static array $env = [];

        public static function load(string $root): void
        {
            self::$root = $root;
            self::$release = require "{$root}/src/release.php";
            self::readDotenv((string) @file_get_contents("{$root}/.env"));
            if (strlen(self::get('APP_SECRET_KEY')) < 64) {
                throw new Errors\ConfigurationError('APP_SECRET_KEY must have at least 64 characters');
            }
            date_default_timezone_set('UTC');
        }

        /** A `#` makes a comment of a whole line only, and the real environment wins. */
        private static function readDotenv(string $content): void
        {
            foreach (preg_split('/\r\n|\n|\r/', $content) as $line) {
                [$name, $value] = array_map('trim', explode('=', $line, 2) + [1 => '']);
                if ($name === '' || $name[0] === '#') {
                    continue;
                }
                $quoted = preg_match('/^(["\'])(.*)\1$/s', $value, $match);
                $from_environment = getenv($name);
                self::$env[$name] = $from_environment !== false ? $from_environment : ($quoted ? $match[2] : $value);
            }
        }

        public static function get(string $name, string $default = ''): string
        {
            return self::$env[$name] ?? $default;
        }

        public static function data(string $file): string
        {
            return self::get('APP_DATA_PATH', self::$root . '/data') . "/{$file}";
        }

        /** Whether the release is at least that version. */
        public static function since(string $version): bool
        {
            return version_compare(self::$release['version'], $version, '>=');
        }
    }

    class Database
    {
        private static ?\PDO $pdo = null;

        public static function get(): \PDO
        {
            return self::$pdo ??= self::connect(true);
        }

        private static function name(): string
        {
            return Configuration::$release['database'] ?? Configuration::get('DB_NAME', 'flus_production');
        }

        /** Without a name PostgreSQL takes the database that is called like the role. */
        private static function connect(bool $with_name): \PDO
        {
            $dsn = 'sqlite:' . Configuration::get('DB_PATH', Configuration::data('db.sqlite'));
            $user = $password = null;
            if (Configuration::$release['kind'] === 'pgsql') {
                $dsn = 'pgsql:host=' . Configuration::get('DB_HOST') . ';port=' . Configuration::get('DB_PORT', '5432');
                $dsn .= $with_name ? ';dbname=' . self::name() : '';
                [$user, $password] = [Configuration::get('DB_USERNAME'), Configuration::get('DB_PASSWORD')];
            }
            $options = [\PDO::ATTR_ERRMODE => \PDO::ERRMODE_EXCEPTION, \PDO::ATTR_DEFAULT_FETCH_MODE => \PDO::FETCH_ASSOC];
            try {
                return new \PDO($dsn, $user, $password, $options);
            } catch (\PDOException $error) {
                throw new Errors\DatabaseError("An error occured during database initialization: {$error->getMessage()}.");
            }
        }

        /** Makes room for the first schema, as the releases of three times do. */
        public static function initialize(): void
        {
            if (Configuration::$release['kind'] === 'sqlite') {
                return;
            }
            $server = self::connect(false);
            $first = Configuration::$release['first'];
            if ($first === 'reset') {
                $server->exec('DROP DATABASE IF EXISTS ' . self::name());
            }
            $there = $server->query('SELECT 1 FROM pg_database WHERE datname = ' . $server->quote(self::name()))->fetch();
            if ($first !== 'load' || !$there) {
                $server->exec('CREATE DATABASE ' . self::name() . " ENCODING 'UTF8'");
            }
        }

        public static function run(string $sql, array $values = []): \PDOStatement
        {
            $statement = self::get()->prepare($sql);
            $statement->execute($values);
            return $statement;
        }

        public static function now(string $change = 'now'): string
        {
            return (new \DateTimeImmutable($change))->format(DATETIME_FORMAT);
        }

        /** A time of a row. One with microseconds is not in the format: PHP ends with a TypeError. */
        public static function time(string $value): \DateTimeImmutable
        {
            return \DateTimeImmutable::createFromFormat(DATETIME_FORMAT, $value);
        }
    }

    /** `data/migrations_version.txt` names the last migration that ran, and nothing else knows it. */
    class Migrations
    {
        private static function all(): array
        {
            $names = [];
            foreach (glob(Configuration::$root . '/src/migrations/*.php') as $file) {
                require_once $file;
                $names[] = basename($file, '.php');
            }
            natsort($names);
            return array_values($names);
        }

        /** How many migrations ran. */
        private static function position(array $all): int
        {
            $version = trim((string) @file_get_contents(Configuration::data('migrations_version.txt')));
            if ($version === '') {
                return 0;
            }
            $position = array_search($version, $all, true);
            if ($position === false) {
                throw new Errors\MigrationError("{$version} migration does not exist.");
            }
            return $position + 1;
        }

        private static function save(string $version): array|null
        {
            $saved = @file_put_contents(Configuration::data('migrations_version.txt'), $version);
            return $saved === false ? [500, "Cannot save the migrations version number ({$version})."] : null;
        }

        public static function initialize(): array
        {
            Database::initialize();
            $schema = file_get_contents(Configuration::$root . '/src/schema.sql');
            try {
                Database::get()->exec($schema);
            } catch (\PDOException $error) {
                if (Configuration::$release['first'] !== 'load') {
                    throw $error;
                }
                return [500, "Cannot load the database schema:\n{$error}"];
            }
            $all = self::all();
            return self::save(end($all) ?: '') ?? [200, 'The system has been initialized.'];
        }

        public static function migrate(): array
        {
            $all = self::all();
            $position = self::position($all);
            if ($position === count($all)) {
                return [200, 'Your system is already up to date.'];
            }
            return self::go(array_slice($all, $position), 'migrate', $all, $position, 1);
        }

        public static function rollback(int $steps): array
        {
            $all = self::all();
            $position = self::position($all);
            $undone = array_slice(array_reverse(array_slice($all, 0, $position)), 0, $steps);
            return self::go($undone, 'rollback', $all, $position, -1);
        }

        /** No transaction: what the first statement of a migration that fails did, stays. */
        private static function go(array $names, string $method, array $all, int $position, int $step): array
        {
            $results = [];
            $code = 200;
            foreach ($names as $name) {
                try {
                    (new ("App\\migrations\\{$name}")())->$method();
                    $results[] = "{$name}: OK";
                } catch (\Exception $error) {
                    $results[] = "{$name}: {$error->getMessage()}";
                    $code = 500;
                    break;
                }
                $position += $step;
            }
            $failure = self::save($position > 0 ? $all[$position - 1] : '');
            return $failure ?? [$code, implode("\n", $results) ?: 'There was no rollback to apply.'];
        }

        public static function setup(bool $seed): array
        {
            $is_new = !file_exists(Configuration::data('migrations_version.txt'));
            $result = $is_new ? self::initialize() : self::migrate();
            if ($seed && $result[0] === 200) {
                \App\seed();
                $result[1] .= "\nSeeds loaded.";
            }
            return $result;
        }

        public static function list(): string
        {
            $all = self::all();
            $position = self::position($all);
            $mark = fn ($index) => $all[$index] . ($index < $position ? '' : ' (not applied)');
            return implode("\n", array_map($mark, array_keys($all)));
        }
    }

    /** Jobs are rows; what they do is a function of `App\jobs()`. */
    class Jobs
    {
        public static function install(string $name, int $count, string $frequency, string $queue = 'default', string $at = 'now'): void
        {
            $name = "App\\jobs\\{$name}";
            Database::run('DELETE FROM jobs WHERE name = ? AND id NOT IN (SELECT id FROM jobs WHERE name = ? ORDER BY id LIMIT ?)', [$name, $name, $count]);
            $there = Database::run('SELECT COUNT(*) FROM jobs WHERE name = ?', [$name])->fetchColumn();
            for (; $there < $count; $there++) {
                $values = [Database::now(), Database::now(), Database::now($at), $name, $frequency, $queue];
                Database::run('INSERT INTO jobs (created_at, updated_at, perform_at, name, frequency, queue) VALUES (?, ?, ?, ?, ?, ?)', $values);
            }
        }

        public static function list(): string
        {
            $line = fn ($job) => "job#{$job['id']} {$job['name']} scheduled each {$job['frequency']}, next at {$job['perform_at']}"
                . ($job['locked_at'] ? ' (locked)' : '') . ($job['failed_at'] ? ' (failed)' : '');
            return implode("\n", array_map($line, Database::run('SELECT * FROM jobs ORDER BY id')->fetchAll()));
        }

        public static function run(int $id): array
        {
            $job = Database::run('SELECT * FROM jobs WHERE id = ?', [$id])->fetch();
            $work = $job ? \App\jobs()[basename(strtr($job['name'], '\\', '/'))] ?? null : null;
            if (!$work) {
                return [404, "Job {$id} does not exist."];
            }
            $lock = 'UPDATE jobs SET locked_at = ?, number_attempts = number_attempts + 1 WHERE id = ? AND (locked_at IS NULL OR locked_at <= ?)';
            if (Database::run($lock, [Database::now(), $id, Database::now('-1 hour')])->rowCount() === 0) {
                return [500, 'Internal server error'];
            }
            $begin = microtime(true);
            $error = null;
            try {
                $work();
            } catch (\Exception $exception) {
                $error = (string) $exception;
            }
            $next = new \DateTimeImmutable($job['perform_at']);
            while ($next <= new \DateTimeImmutable()) {
                $next = $next->modify($job['frequency']);
            }
            $values = [$next->format(DATETIME_FORMAT), $error ? Database::now() : null, $error ?? '', $id];
            Database::run('UPDATE jobs SET locked_at = NULL, perform_at = ?, failed_at = ?, last_error = ? WHERE id = ?', $values);
            $seconds = number_format(microtime(true) - $begin, 3);
            $end = $error ? 'failed' : 'done';
            return [$error ? 500 : 200, "job#{$id} ({$job['name']}): {$end} (in {$seconds} seconds)"];
        }

        public static function watch(array $parameters): array
        {
            // The digits of `fetchers1` tell workers apart, not queues.
            $queue = rtrim($parameters['queue'] ?? 'all', '0..9');
            $stop_after = (int) ($parameters['stop-after'] ?? 0);
            $is_watching = true;
            $stop = function () use (&$is_watching) {
                $is_watching = false;
            };
            pcntl_async_signals(true);
            array_map(fn ($signal) => pcntl_signal($signal, $stop), [SIGTERM, SIGINT, SIGQUIT]);
            echo "[Job worker ({$queue}) started]\n";
            $which = 'SELECT id FROM jobs WHERE (locked_at IS NULL OR locked_at <= ?) AND perform_at <= ?'
                . ($queue === 'all' ? '' : ' AND queue = ?') . ' ORDER BY perform_at';
            for ($done = 0; $is_watching && ($stop_after === 0 || $done < $stop_after);) {
                $values = [Database::now('-1 hour'), Database::now(), ...($queue === 'all' ? [] : [$queue])];
                $id = Database::run($which, $values)->fetchColumn();
                if ($id !== false) {
                    echo self::run((int) $id)[1], "\n";
                    $done++;
                }
                $is_watching && sleep((int) ($parameters['sleep-duration'] ?? 3));
            }
            return [200, "[Job worker ({$queue}) stopped]"];
        }
    }

    class Mailer
    {
        public static function send(string $to, string $subject, string $body): void
        {
            [$host, $secure] = [Configuration::get('SMTP_HOST', 'localhost'), Configuration::get('SMTP_SECURE')];
            $address = ($secure === 'ssl' ? 'ssl://' : '') . $host . ':' . Configuration::get('SMTP_PORT', '25');
            $server = @stream_socket_client($address, $code, $message, 10);
            if (!$server) {
                throw new \RuntimeException("SMTP connect() failed: {$message}");
            }
            stream_set_timeout($server, 10);
            self::say($server, null, '2');
            self::say($server, 'EHLO ' . Configuration::get('SMTP_DOMAIN', 'localhost'), '2');
            if ($secure === 'tls') {
                self::say($server, 'STARTTLS', '2');
                stream_socket_enable_crypto($server, true, STREAM_CRYPTO_METHOD_TLS_CLIENT);
                self::say($server, 'EHLO ' . Configuration::get('SMTP_DOMAIN', 'localhost'), '2');
            }
            // As in the real ones every text but an empty one is true, `false` as well.
            if ((bool) Configuration::get('SMTP_AUTH')) {
                self::say($server, 'AUTH LOGIN', '3');
                self::say($server, base64_encode(Configuration::get('SMTP_USERNAME')), '3');
                self::say($server, base64_encode(Configuration::get('SMTP_PASSWORD')), '2');
            }
            $from = Configuration::get('SMTP_FROM', 'root@localhost');
            self::say($server, "MAIL FROM:<{$from}>", '2');
            self::say($server, "RCPT TO:<{$to}>", '2');
            self::say($server, 'DATA', '3');
            self::say($server, "From: {$from}\r\nTo: {$to}\r\nSubject: {$subject}\r\n\r\n{$body}\r\n.", '2');
            self::say($server, 'QUIT', '2');
        }

        private static function say($server, ?string $line, string $wanted): void
        {
            $line === null || fwrite($server, "{$line}\r\n");
            do {
                $answer = fgets($server);
            } while ($answer !== false && ($answer[3] ?? ' ') === '-');
            if ($answer === false || $answer[0] !== $wanted) {
                throw new \RuntimeException('SMTP Error: ' . trim((string) $answer));
            }
        }
    }

    /** The command line: `php cli system setup --name=value`, or `--request /system/setup -pname=value`. */
    function command_line(string $root, array $argv): never
    {
        Configuration::load($root);
        [$words, $parameters] = [[], []];
        $is_old = Configuration::$release['request'] ?? false;
        for ($i = 1; $i < count($argv); $i++) {
            if ($is_old && $argv[$i] === '--request') {
                $words[] = trim($argv[++$i] ?? '', '/');
            } elseif (preg_match($is_old ? '/^-p([^=]+)=(.*)$/s' : '/^--([^=]+)(?:=(.*))?$/s', $argv[$i], $match)) {
                $parameters[$match[1]] = $match[2] ?? 'true';
            } else {
                $words[] = $argv[$i];
            }
        }
        $command = strtr(implode(' ', $words), '/', ' ');
        try {
            [$code, $text] = command($command, $parameters);
        } catch (\Exception $error) {
            if (!$is_old) {
                throw $error;
            }
            [$code, $text] = [500, get_class($error) . ': ' . $error->getMessage()];
        }
        // The programs of 2022 print the code and end with 0, whatever it is.
        echo $is_old && $code !== 200 ? "{$code}\n" : '', $text, "\n";
        $is_deaf = $is_old || $command === 'system setup';
        exit($code < 300 || $is_deaf ? 0 : $code);
    }

    function command(string $command, array $parameters): array
    {
        $release = Configuration::$release;
        $is_system = in_array($release['first'], ['reset', 'init'], true);
        return \App\command($command, $parameters) ?? match (true) {
            $command === 'migrations setup' && !$is_system => Migrations::setup(isset($parameters['seed'])),
            $command === 'migrations rollback' && !$is_system,
            $command === 'system rollback' && $is_system => Migrations::rollback((int) ($parameters['steps'] ?? 1)),
            $command === 'migrations' && !$is_system => [200, Migrations::list()],
            $command === 'system setup' && $release['first'] === 'reset' => Migrations::setup(true),
            $command === 'system init' && $release['first'] === 'init' => system_init(),
            $command === 'system migrate' && $release['first'] === 'init' => system_migrate(),
            // The programs that timers start, in 2022, know no jobs.
            !($release['jobs'] ?? true) => [404, 'Not found.'],
            $command === 'jobs' => [200, Jobs::list()],
            $command === 'jobs run' => Jobs::run((int) ($parameters['id'] ?? 0)),
            $command === 'jobs watch' => Jobs::watch($parameters),
            default => [404, 'Not found.'],
        };
    }

    function system_init(): array
    {
        if (file_exists(Configuration::data('migrations_version.txt'))) {
            return [500, 'data/migrations_version.txt file exists, the system is already initialized.'];
        }
        return Migrations::initialize();
    }

    function system_migrate(): array
    {
        if (!file_exists(Configuration::data('migrations_version.txt'))) {
            return [500, 'data/migrations_version.txt file does not exist, you must initialize the system first.'];
        }
        return Migrations::migrate();
    }

    /** The web: `App\page()` answers with a code, a text, and headers. */
    function web(string $root): void
    {
        Configuration::load($root);
        $path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
        [$code, $text, $headers] = \App\page($_SERVER['REQUEST_METHOD'], $path) + [1 => '', 2 => []];
        http_response_code($code);
        header("Content-Security-Policy: default-src 'self'; style-src 'self' 'unsafe-inline'");
        header('Referrer-Policy: same-origin');
        header('X-Content-Type-Options: nosniff');
        header('X-Frame-Options: deny');
        foreach ($headers as $name => $value) {
            header("{$name}: {$value}");
        }
        echo $text;
    }

    function redirect(string $to): array
    {
        return [302, '', ['Location' => $to]];
    }

    /** Under any other name than APP_HOST the browser keeps no cookie, and no form is accepted. */
    function session(): void
    {
        session_set_cookie_params(['domain' => Configuration::get('APP_HOST'), 'secure' => true, 'httponly' => true]);
        session_name(Configuration::$release['cookie'] ?? 'App');
        session_start();
        $_SESSION['csrf'] ??= bin2hex(random_bytes(32));
    }

    function form_is_ours(): bool
    {
        return hash_equals($_SESSION['csrf'], (string) ($_POST['csrf'] ?? ''));
    }

    function form(string $action, array $fields, string $error = ''): string
    {
        $inputs = implode('', array_map(fn ($name) => "<input name=\"{$name}\" />\n", $fields));
        $csrf = "<input type=\"hidden\" name=\"csrf\" value=\"{$_SESSION['csrf']}\" />\n";
        return "<p>{$error}</p>\n<form method=\"post\" action=\"{$action}\">\n{$csrf}{$inputs}<button>OK</button>\n</form>\n";
    }

    const CSRF_ERROR = 'A security verification failed: you should retry to submit the form.';
}
