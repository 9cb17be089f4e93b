<?php

// A stand-in for taust, which watches sites and servers.

namespace App;

use Minz\Configuration;
use Minz\Database;
use Minz\Jobs;
use Minz\Mailer;

const SMS = 'https://smsapi.free-mobile.fr/sendmsg';

function seed(): void
{
    if (!(Configuration::$release['jobs'] ?? true)) {
        return;
    }
    Jobs::install('CheckHeartbeats', 1, '+1 minute');
    Jobs::install('CheckAlarms', 1, '+5 seconds');
    Jobs::install('NotifyAlarms', 1, '+1 minute');
    Jobs::install('Cleaner', 1, '+1 day', at: 'tomorrow 02:00');
}

function jobs(): array
{
    return [
        'CheckHeartbeats' => heartbeats(...), 'CheckAlarms' => monitor(...),
        'NotifyAlarms' => notify(...), 'Cleaner' => clear_old(...),
    ];
}

function command(string $command, array $parameters): ?array
{
    if ($command === 'users create') {
        $values = [identifier(), Database::now(), $parameters['username'] ?? '', password_hash($parameters['password'] ?? '', PASSWORD_BCRYPT)];
        Database::run('INSERT INTO users (id, created_at, username, password_hash) VALUES (?, ?, ?, ?)', $values);
        return [200, "User {$values[2]} has been created."];
    }
    if (Configuration::$release['jobs'] ?? true) {
        return null;
    }
    return match ($command) {
        'domains heartbeats' => [200, heartbeats()],
        'alarms monitor' => [200, monitor()],
        'alarms notify' => [200, notify()],
        'system clear-old' => [200, clear_old()],
        default => null,
    };
}

function identifier(): string
{
    return (string) hrtime(true);
}

/** The rows of a table. Each has to have a time that the application can read. */
function rows(string $table): array
{
    $rows = Database::run("SELECT * FROM {$table} ORDER BY id")->fetchAll();
    array_map(fn ($row) => Database::time($row['created_at']), $rows);
    return $rows;
}

function ask(string $url, int &$code, string &$error): void
{
    $curl = curl_init($url);
    curl_setopt_array($curl, [CURLOPT_RETURNTRANSFER => true, CURLOPT_TIMEOUT => 5, CURLOPT_USERAGENT => 'taust/dev']);
    curl_exec($curl);
    [$code, $error] = [curl_getinfo($curl, CURLINFO_RESPONSE_CODE), curl_error($curl)];
}

function heartbeats(): string
{
    $said = [];
    foreach (rows('domains') as $domain) {
        [$code, $error] = [0, ''];
        ask("https://{$domain['id']}/", $code, $error);
        $is_success = $code >= 200 && $code < 400;
        $details = $is_success ? 'OK' : "{$error} (code {$code})";
        $values = [Database::now(), $is_success ? 'true' : 'false', $details, $domain['id']];
        Database::run('INSERT INTO heartbeats (created_at, is_success, details, domain_id) VALUES (?, ?, ?, ?)', $values);
        $said[] = "{$domain['id']}: {$details}";
    }
    return implode("\n", $said);
}

function monitor(): string
{
    $said = [];
    foreach (rows('domains') as $domain) {
        // Some releases looked at nothing but successes, so that they never raised an alarm.
        $which = Configuration::$release['deaf'] ?? false ? 'AND is_success' : '';
        $last = Database::run("SELECT * FROM heartbeats WHERE domain_id = ? {$which} ORDER BY created_at DESC LIMIT 1", [$domain['id']])->fetch();
        if ($last) {
            $said[] = "Domain {$domain['id']}: " . alarm('domain_id', $domain['id'], 'heartbeat', !$last['is_success'], $last['details']);
        }
    }
    foreach (rows('servers') as $server) {
        $last = Database::run('SELECT * FROM metrics WHERE server_id = ? ORDER BY created_at DESC LIMIT 1', [$server['id']])->fetch();
        if ($last) {
            $is_down = Database::time($last['created_at']) <= new \DateTimeImmutable('-1 minute');
            array_push($said, ...server_alarms($server, $is_down, json_decode($last['payload'], true)));
        }
    }
    return implode("\n", $said);
}

/** An old metric says nothing of the rest. */
function server_alarms(array $server, bool $is_down, array $metric): array
{
    $raise = fn ($name, $type, $is_bad, $details) => "{$server['hostname']} {$name}: " . alarm('server_id', $server['id'], $type, $is_bad, $details);
    $said = [$raise('status', 'status', $is_down, 'The server sent no metrics for more than a minute.')];
    if ($is_down) {
        return $said;
    }
    $cpu = array_sum($metric['cpu_percent']) / max(1, count($metric['cpu_percent']));
    $said[] = $raise('CPU', 'cpu_usage', $cpu >= 90, "CPU average usage is more than 90% of its capacity ({$cpu} %).");
    $memory = $metric['memory_total'] ? round(100 - 100 * $metric['memory_available'] / $metric['memory_total'], 2) : 0;
    $said[] = $raise('memory', 'memory_usage', $memory >= 90, "Memory usage is more than 90% of its capacity ({$memory} %).");
    foreach ($metric['disks'] as $disk) {
        $used = round(100 - 100 * $disk['free'] / $disk['total'], 2);
        $details = "Disk {$disk['name']} usage is more than 80% of its capacity ({$used} %).";
        $said[] = $raise("{$disk['name']} disk", "disk_usage:{$disk['name']}", $used >= 80, $details);
    }
    return $said;
}

/** Begins or ends the alarm of one kind. */
function alarm(string $column, string $id, string $type, bool $is_bad, string $details): string
{
    $ongoing = Database::run("SELECT id FROM alarms WHERE {$column} = ? AND type = ? AND finished_at IS NULL", [$id, $type])->fetchColumn();
    if ($ongoing) {
        $is_bad || Database::run('UPDATE alarms SET finished_at = ? WHERE id = ?', [Database::now(), $ongoing]);
        return $is_bad ? 'Alarm not finished' : 'Alarm finished';
    }
    $values = [Database::now(), $type, $details, $id];
    $is_bad && Database::run("INSERT INTO alarms (created_at, type, details, {$column}) VALUES (?, ?, ?, ?)", $values);
    return $is_bad ? 'New alarm!' : 'All good';
}

/** Every user gets every alarm that lasts for three minutes, once. */
function notify(): string
{
    $alarms = Database::run(
        'SELECT a.id, COALESCE(domain_id, hostname) AS name, details FROM alarms a LEFT JOIN servers s ON s.id = server_id
        WHERE notified_at IS NULL AND finished_at IS NULL AND a.created_at <= ?',
        [Database::now('-3 minutes')]
    )->fetchAll();
    $home = 'https://' . Configuration::get('APP_HOST') . '/';
    foreach ($alarms as $alarm) {
        $message = "Hey, this is taust robot at {$home}. It looks like you have a problem with {$alarm['name']}.";
        foreach (rows('users') as $user) {
            if ($user['email']) {
                Mailer::send($user['email'], "[taust] Alarm: {$alarm['name']}", "{$message}\r\n{$alarm['details']}");
            }
            if ($user['free_mobile_login'] && $user['free_mobile_key']) {
                [$code, $error] = [0, ''];
                $query = ['user' => $user['free_mobile_login'], 'pass' => $user['free_mobile_key'], 'msg' => $message];
                ask(SMS . '?' . http_build_query($query), $code, $error);
            }
        }
        Database::run('UPDATE alarms SET notified_at = ? WHERE id = ?', [Database::now(), $alarm['id']]);
    }
    return count($alarms) . ' alarms have been notified.';
}

function clear_old(): string
{
    foreach (['heartbeats', 'metrics'] as $table) {
        Database::run("DELETE FROM {$table} WHERE created_at <= ?", [Database::now('-2 weeks')]);
    }
    return 'Old data have been cleared.';
}

function page(string $method, string $path): array
{
    $host = explode(':', $_SERVER['HTTP_HOST'] ?? '')[0];
    $status_page = Database::run('SELECT * FROM pages WHERE hostname = ?', [$host])->fetch();
    if ($status_page && $host !== '') {
        return status_page($status_page, $path);
    }
    if ("{$method} {$path}" === 'POST /') {
        return metrics();
    }
    \Minz\session();
    switch ("{$method} {$path}") {
        case 'GET /':
            $ids = fn ($table) => implode(', ', array_column(rows($table), 'id'));
            return isset($_SESSION['user']) ? [200, $ids('domains') . '; ' . $ids('servers') . "\n"] : \Minz\redirect('/login');
        case 'GET /login':
            return [200, \Minz\form('/login', ['username', 'password'])];
        case 'POST /login':
            $user = Database::run('SELECT * FROM users WHERE username = ?', [$_POST['username'] ?? ''])->fetch();
            $is_right = $user && password_verify($_POST['password'] ?? '', $user['password_hash']);
            if (!\Minz\form_is_ours() || !$is_right) {
                return [400, \Minz\form('/login', ['username', 'password'], \Minz\CSRF_ERROR)];
            }
            $_SESSION['user'] = $user['id'];
            return \Minz\redirect('/');
    }
    return [404, "<h1>404</h1>\n"];
}

/** The token of a server is the password of a basic authorisation. */
function metrics(): array
{
    $token = $_SERVER['PHP_AUTH_PW'] ?? '';
    if ($token === '') {
        return [401, 'You must pass the server token as basic auth password'];
    }
    $server = Database::run('SELECT id FROM servers WHERE auth_token = ?', [$token])->fetchColumn();
    if (!$server) {
        return [400, 'The auth token matches with no servers, please check its value'];
    }
    $payload = json_decode(file_get_contents('php://input'), true);
    if (!is_array($payload)) {
        return [400, 'The payload is not a valid JSON.'];
    }
    $payload += ['at' => time(), 'cpu_percent' => [], 'memory_total' => 0, 'memory_available' => 0, 'disks' => []];
    Database::run('INSERT INTO metrics (created_at, payload, server_id) VALUES (?, ?, ?)', [Database::now(), json_encode($payload), $server]);
    return [200, 'OK'];
}

function status_page(array $page, string $path): array
{
    $announcements = fn ($more = '') => Database::run("SELECT * FROM announcements WHERE page_id = ? {$more} ORDER BY planned_at DESC", [$page['id']])->fetchAll();
    if (preg_match('#^/a/(\w+)$#', $path, $match)) {
        $found = array_filter($announcements(), fn ($announcement) => $announcement['id'] === $match[1]);
        return $found ? [200, '<h1>' . htmlspecialchars(current($found)['title']) . "</h1>\n"] : [404, "<h1>404</h1>\n"];
    }
    $title = htmlspecialchars($page['title']);
    switch ($path) {
        case '/':
            $domains = Database::run('SELECT domain_id FROM pages_to_domains WHERE page_id = ?', [$page['id']])->fetchAll();
            $servers = Database::run('SELECT hostname FROM servers s, pages_to_servers p WHERE s.id = p.server_id AND page_id = ?', [$page['id']])->fetchAll();
            $names = [...array_column($domains, 'domain_id'), ...array_column($servers, 'hostname')];
            return [200, "<h1>{$title}</h1>\n<ul><li>" . implode('</li><li>', $names) . "</li></ul>\n"];
        case '/feed':
            $entry = fn ($announcement) => '<entry><title>' . htmlspecialchars($announcement['title']) . '</title></entry>';
            $feed = "<feed xmlns=\"http://www.w3.org/2005/Atom\"><title>{$title}</title>" . implode('', array_map($entry, $announcements())) . "</feed>\n";
            return [200, $feed, ['Content-Type' => 'application/atom+xml;charset=UTF-8']];
        case '/style':
            return [200, $page['style'], ['Content-Type' => 'text/css']];
    }
    return [404, "<h1>404</h1>\n"];
}
