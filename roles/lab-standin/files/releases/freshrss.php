<?php

// A stand-in for FreshRSS. Its programs and pages are files of one line that call this one.

namespace FreshRSS;

require __DIR__ . '/../constants.php';

const ROOT = __DIR__ . '/..';
const EXIT_CODE_ALREADY_EXISTS = 3;
const OPTIONS = ['environment:', 'base-url:', 'language:', 'title:', 'default-user:', 'allow-anonymous', 'auth-type:', 'api-enabled'];

function fail(string $message, int $code = 1): never
{
    fwrite(STDERR, "{$message}\n");
    exit($code);
}

/** The names have underscores until 1.20; a newer release takes them and complains. */
function options(array $names, array $always = []): array
{
    $is_new = version_compare(FRESHRSS_VERSION, '1.21', '>=');
    $old = array_map(fn ($name) => strtr($name, '-', '_'), $names);
    $known = array_merge($is_new ? $names : [], $old, $always);
    foreach (array_slice($GLOBALS['argv'], 1) as $word) {
        $name = strtok(ltrim($word, '-'), '=');
        if (str_starts_with($word, '--') && !in_array($name, $known, true) && !in_array("{$name}:", $known, true)) {
            fail("FreshRSS error: unknown option: {$name}");
        }
        if ($is_new && str_starts_with($word, '--') && strtr($name, '_', '-') !== $name) {
            fwrite(STDERR, "FreshRSS deprecated option: {$name}\n");
        }
    }
    $options = [];
    foreach (getopt('', $known) as $name => $value) {
        $options[strtr($name, '-', '_')] = $value === false ? true : $value;
    }
    return $options;
}

/** The application writes this file, others may add to it. */
function config(): array
{
    $path = ROOT . '/data/config.php';
    return is_file($path) ? require $path : fail('FreshRSS is not installed!');
}

function write(string $path, array $values): void
{
    $content = "<?php\nreturn " . var_export($values, true) . ";\n";
    if (@file_put_contents(ROOT . "/data/{$path}", $content) === false) {
        fail("FreshRSS could not write configuration file!: {$path}");
    }
}

function database(array $db): \PDO
{
    [$host, $port] = explode(':', $db['host']) + [1 => '5432'];
    $dsn = "pgsql:host={$host};port={$port};dbname={$db['base']}";
    return new \PDO($dsn, $db['user'], $db['password'], [\PDO::ATTR_ERRMODE => \PDO::ERRMODE_EXCEPTION]);
}

function users(): array
{
    $names = array_map(fn ($file) => basename(dirname($file)), glob(ROOT . '/data/users/*/config.php'));
    return array_values(array_diff($names, ['_']));
}

function do_install(): void
{
    if (is_file(ROOT . '/data/applied_migrations.txt')) {
        fail("FreshRSS seems to be already installed!\nPlease use `./cli/reconfigure.php` instead.", EXIT_CODE_ALREADY_EXISTS);
    }
    $options = options(OPTIONS, ['db-type:', 'db-host:', 'db-user:', 'db-password:', 'db-base:', 'db-prefix:']);
    $config = ['salt' => bin2hex(random_bytes(20)), 'db' => ['prefix' => '']];
    foreach ($options as $name => $value) {
        if (str_starts_with($name, 'db_')) {
            $config['db'][substr($name, 3)] = $value;
        } else {
            $config[$name] = $value;
        }
    }
    fwrite(STDERR, "FreshRSS installing…\n");
    try {
        database($config['db']);
    } catch (\PDOException $error) {
        fail("FreshRSS database error: {$error->getMessage()}");
    }
    write('config.php', $config);
    @mkdir(ROOT . '/data/users/_', 0750, true);
    touch(ROOT . '/data/users/_/log.txt');
    file_put_contents(ROOT . '/data/applied_migrations.txt', "2019_12_22_FooBar\n");
    echo "• Remember to create the default user: {$options['default_user']}\n";
}

function create_user(): void
{
    $options = options([], ['user:', 'password:', 'api_password:', 'email:', 'language:', 'token:', 'no_default_feeds', 'api-password:', 'no-default-feeds']);
    $db = config()['db'];
    $name = $options['user'] ?? '';
    if (!preg_match('/^[a-zA-Z0-9_.@-]{1,39}$/', $name)) {
        fail("FreshRSS error: invalid username “{$name}”!");
    }
    if (in_array(strtolower($name), array_map('strtolower', users()), true)) {
        fail("FreshRSS warning: username already exists “{$name}”", EXIT_CODE_ALREADY_EXISTS);
    }
    echo "FreshRSS creating user “{$name}”…\n";
    database($db)->exec("CREATE TABLE IF NOT EXISTS \"{$db['prefix']}{$name}_entry\" (id BIGINT PRIMARY KEY, title TEXT)");
    @mkdir(ROOT . "/data/users/{$name}", 0750, true);
    $hash = password_hash($options['password'] ?? '', PASSWORD_BCRYPT, ['cost' => 9]);
    $user = ['language' => $options['language'] ?? 'en', 'mail_login' => $options['email'] ?? '', 'passwordHash' => $hash];
    write("users/{$name}/config.php", $user);
}

function reconfigure(): void
{
    $options = options(OPTIONS, ['db-type:', 'db-host:', 'db-user:', 'db-password:', 'db-base:', 'db-prefix:']);
    $config = config();
    foreach ($options as $name => $value) {
        if (str_starts_with($name, 'db_')) {
            $config['db'][substr($name, 3)] = $value;
        } else {
            $config[$name] = $value;
        }
    }
    write('config.php', $config);
}

function actualize(): void
{
    $db = config()['db'];
    echo "FreshRSS starting feeds actualization at " . date('c') . "\n";
    foreach (users() as $user) {
        $count = database($db)->query("SELECT COUNT(*) FROM \"{$db['prefix']}{$user}_entry\"")->fetchColumn();
        echo "FreshRSS actualize {$user}… {$count} entries\nResult: OK\n";
    }
    echo "FreshRSS actualization done.\n";
}

function program(string $name): void
{
    match ($name) {
        'prepare' => @mkdir(ROOT . '/data/users/_', 0750, true),
        'do-install' => do_install(),
        'create-user' => create_user(),
        'reconfigure' => reconfigure(),
        'actualize' => actualize(),
    };
}

function api(string $name): void
{
    header('Content-Type: text/plain; charset=utf-8');
    if (!(config()['api_enabled'] ?? false)) {
        http_response_code(503);
        echo "Service Unavailable!\n";
    } else {
        echo $name === 'greader' ? 'PASS' : 'OK';
    }
}

/** The password never leaves the browser: it proves that it knows it by a challenge. */
function page(): void
{
    if (!is_file(ROOT . '/data/applied_migrations.txt')) {
        header('Location: /i/install.php', true, 302);
        return;
    }
    session_name('FreshRSS');
    session_start();
    $_SESSION['csrf'] ??= bin2hex(random_bytes(20));
    $action = ($_GET['c'] ?? 'index') . '/' . ($_GET['a'] ?? 'index');
    $user = $_POST['username'] ?? $_GET['user'] ?? '';
    $hash = in_array($user, users(), true) ? (require ROOT . "/data/users/{$user}/config.php")['passwordHash'] : '';
    if ($action === 'javascript/nonce') {
        $_SESSION['nonce'] = bin2hex(random_bytes(20));
        header('Content-Type: application/json');
        echo json_encode(['salt1' => substr($hash, 0, 29), 'nonce' => $_SESSION['nonce']]);
    } elseif ($action === 'auth/login' && $_SERVER['REQUEST_METHOD'] === 'POST') {
        $is_ours = hash_equals($_SESSION['csrf'], (string) ($_POST['_csrf'] ?? ''));
        if ($is_ours && $hash !== '' && password_verify(($_SESSION['nonce'] ?? '') . $hash, (string) ($_POST['challenge'] ?? ''))) {
            $_SESSION['user'] = $user;
            header('Location: /i/', true, 302);
        } else {
            http_response_code(403);
            echo "<p>Login is invalid</p>\n";
        }
    } else {
        $who = isset($_SESSION['user']) ? "signed in as {$_SESSION['user']}" : 'sign in';
        $csrf = "<input type=\"hidden\" name=\"_csrf\" value=\"{$_SESSION['csrf']}\" />";
        echo '<h1>' . htmlspecialchars(config()['title'] ?? 'FreshRSS') . '</h1><p>FreshRSS ' . FRESHRSS_VERSION . ', ' . $who . "</p>\n{$csrf}\n";
    }
}
