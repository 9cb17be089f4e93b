<?php

// A stand-in for Flus (flusio until v0.59).

namespace App;

use Minz\Configuration;
use Minz\Database;
use Minz\Jobs;

function seed(): void
{
    counts();
    Jobs::install('Cleaner', 1, '+1 day', at: 'tomorrow 01:00');
    Jobs::install('SubscriptionsSync', 1, '+4 hours');
    Configuration::since('1.2') && Jobs::install('InactivityNotifier', 1, '+1 day', at: 'tomorrow 03:00');
}

/** Other counts of workers need other rows. */
function counts(): void
{
    Jobs::install('FeedsSync', (int) Configuration::get('JOB_FEEDS_SYNC_COUNT', '1'), '+15 seconds', 'fetchers');
    Jobs::install('LinksSync', (int) Configuration::get('JOB_LINKS_SYNC_COUNT', '1'), '+15 seconds', 'fetchers');
}

function jobs(): array
{
    return [
        'FeedsSync' => fn () => null,
        'LinksSync' => fn () => null,
        'InactivityNotifier' => fn () => null,
        'SubscriptionsSync' => subscriptions(...),
        'Cleaner' => clean(...),
    ];
}

/** The only way to the account of the demo. */
function clean(): void
{
    if (filter_var(Configuration::get('APP_DEMO'), FILTER_VALIDATE_BOOLEAN)) {
        Database::run('DELETE FROM users');
        create_user(Configuration::since('2') ? 'demo@flus.fr' : 'demo@flus.io', 'demo', 'Demo');
    }
}

function subscriptions(): void
{
    $host = Configuration::get('APP_SUBSCRIPTIONS_HOST');
    if ($host === '') {
        return;
    }
    foreach (Database::run('SELECT id, email FROM users')->fetchAll() as $user) {
        $key = base64_encode(Configuration::get('APP_SUBSCRIPTIONS_PRIVATE_KEY') . ':');
        $context = stream_context_create(['http' => ['timeout' => 5, 'header' => "Authorization: Basic {$key}"]]);
        $answer = @file_get_contents("{$host}/api/account?email=" . urlencode($user['email']), false, $context);
        if ($answer === false) {
            throw new \RuntimeException("{$host} does not answer");
        }
        $values = [json_decode($answer, true)['expired_at'], $user['id']];
        Database::run('UPDATE users SET subscription_expired_at = ? WHERE id = ?', $values);
    }
}

function create_user(string $email, string $password, string $username): array
{
    $locale = Configuration::get('CLI_LOCALE', 'en_GB');
    if (setlocale(LC_ALL, "{$locale}.UTF-8", "{$locale}.UTF8") === false) {
        return [400, 'User creation failed: The locale is invalid.'];
    }
    $values = [bin2hex(random_bytes(16)), Database::now(), $email, $username, password_hash($password, PASSWORD_BCRYPT), $locale];
    Database::run('INSERT INTO users (id, created_at, email, username, password_hash, locale) VALUES (?, ?, ?, ?, ?, ?)', $values);
    $values = [bin2hex(random_bytes(16)), Database::now(), $values[0]];
    Database::run("INSERT INTO collections (id, created_at, name, user_id) VALUES (?, ?, 'Bookmarks', ?)", $values);
    return [200, "User {$username} has been created."];
}

function command(string $command, array $parameters): ?array
{
    switch ($command) {
        case 'database status':
            Database::run('SELECT 1');
            return [200, 'Database status: OK'];
        case 'users create':
            return create_user($parameters['email'] ?? '', $parameters['password'] ?? '', $parameters['username'] ?? '');
        case 'jobs install':
            if (!Configuration::since('0.50')) {
                return null;
            }
            counts();
            return [200, 'Jobs installed.'];
    }
    return null;
}

function page(string $method, string $path): array
{
    if ($path === '/about' && Configuration::since('0.54')) {
        return [200, '<h1>' . Configuration::get('APP_BRAND', 'flusio') . '</h1><p>' . Configuration::$release['version'] . "</p>\n"];
    }
    \Minz\session();
    $user = $_SESSION['user'] ?? null;
    switch ("{$method} {$path}") {
        case 'GET /':
            return \Minz\redirect($user ? '/news' : '/login');
        case 'GET /login':
            return [200, \Minz\form('/login', ['email', 'password'])];
        case 'POST /login':
            return login();
        case 'GET /news':
            return $user ? [200, news($user)] : \Minz\redirect('/login');
        case 'POST /links':
            if (!$user) {
                return \Minz\redirect('/login');
            }
            if (!\Minz\form_is_ours()) {
                return [400, \Minz\CSRF_ERROR];
            }
            $values = [bin2hex(random_bytes(16)), Database::now(), $_POST['url'] ?? '', $user];
            Database::run('INSERT INTO links (id, created_at, url, user_id) VALUES (?, ?, ?, ?)', $values);
            return \Minz\redirect('/news');
    }
    return [404, "<h1>404</h1>\n"];
}

function login(): array
{
    if (!\Minz\form_is_ours()) {
        return [400, \Minz\form('/login', ['email', 'password'], \Minz\CSRF_ERROR)];
    }
    $user = Database::run('SELECT * FROM users WHERE email = ?', [$_POST['email'] ?? ''])->fetch();
    if (!$user || !password_verify($_POST['password'] ?? '', $user['password_hash'])) {
        return [400, \Minz\form('/login', ['email', 'password'], 'The credentials are invalid.')];
    }
    $_SESSION['user'] = $user['id'];
    return \Minz\redirect('/news');
}

/** Code that is newer than its schema fails here, and on no page that a check of health asks. */
function news(string $user): string
{
    $next = Configuration::since('1.2') ? ', c.feed_fetched_next_at' : '';
    Database::run("SELECT c.name{$next} FROM collections c WHERE c.user_id = ?", [$user]);
    $links = Database::run('SELECT url FROM links WHERE user_id = ? ORDER BY created_at', [$user])->fetchAll();
    $items = implode('', array_map(fn ($link) => '<li>' . htmlspecialchars($link['url']) . "</li>\n", $links));
    return "<ul>\n{$items}</ul>\n" . \Minz\form('/links', ['url']);
}
