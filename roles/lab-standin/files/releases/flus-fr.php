<?php

// A stand-in for the website flus.fr.

namespace App;

use Minz\Configuration;
use Minz\Database;
use Minz\Jobs;

const PAGES = ['/', '/tarifs', '/contact', '/securite', '/mentions-legales', '/admin/login'];

function seed(): void
{
    Jobs::install('PaymentsCompleter', 1, '+5 seconds');
    Jobs::install('Reminder', 1, '+1 day');
    Jobs::install('Cleaner', 1, '+1 day');
}

function jobs(): array
{
    return ['PaymentsCompleter' => complete(...), 'Reminder' => fn () => null, 'Cleaner' => fn () => null];
}

function complete(): string
{
    $done = Database::run('UPDATE payments SET completed_at = ? WHERE completed_at IS NULL', [Database::now()]);
    return $done->rowCount() . ' payments completed';
}

function command(string $command, array $parameters): ?array
{
    if (!(Configuration::$release['request'] ?? false)) {
        return null;
    }
    return match ($command) {
        'payments complete' => [200, complete()],
        'accounts remind', 'accounts clear' => [200, '0 accounts'],
        default => null,
    };
}

function page(string $method, string $path): array
{
    if ($method === 'GET' && in_array($path, PAGES, true) && $path !== '/admin/login') {
        return [200, '<h1>Flus</h1><p>' . Configuration::get('APP_HOST') . "{$path}</p>\n"];
    }
    switch ("{$method} {$path}") {
        case 'GET /robots.txt':
            return [200, "User-agent: *\nDisallow: /admin\n", ['Content-Type' => 'text/plain']];
        case 'GET /sitemap.xml':
            $url = fn ($page) => '<url><loc>https://' . Configuration::get('APP_HOST') . "{$page}</loc></url>";
            $urls = implode('', array_map($url, array_slice(PAGES, 0, -1)));
            return [200, "<?xml version=\"1.0\"?>\n<urlset>{$urls}</urlset>\n", ['Content-Type' => 'application/xml']];
        case 'GET /api/account':
            return account();
    }
    return str_starts_with($path, '/admin') ? admin($method, $path) : [404, "<h1>404</h1>\n"];
}

/** An account that is asked for is made. The name of the basic authorisation is the key. */
function account(): array
{
    $key = Configuration::get('APP_FLUS_PRIVATE_KEY');
    if ($key === '' || !hash_equals($key, $_SERVER['PHP_AUTH_USER'] ?? '')) {
        return [401, 'Unauthorized'];
    }
    $email = strtolower(trim($_GET['email'] ?? ''));
    if (!filter_var($email, FILTER_VALIDATE_EMAIL)) {
        return [400, 'L’adresse courriel que vous avez fournie est invalide.'];
    }
    $find = fn () => Database::run('SELECT id, expired_at FROM accounts WHERE email = ?', [$email])->fetch();
    if (!$find()) {
        $values = [bin2hex(random_bytes(16)), Database::now(), Database::now('+1 month'), $email];
        Database::run('INSERT INTO accounts (id, created_at, expired_at, email) VALUES (?, ?, ?, ?)', $values);
    }
    return [200, json_encode($find()), ['Content-Type' => 'application/json']];
}

function admin(string $method, string $path): array
{
    \Minz\session();
    switch ("{$method} {$path}") {
        case 'GET /admin':
            $count = isset($_SESSION['admin']) ? Database::run('SELECT COUNT(*) FROM accounts')->fetchColumn() : null;
            return $count === null ? \Minz\redirect('/admin/login') : [200, "{$count} accounts\n"];
        case 'GET /admin/login':
            return [200, \Minz\form('/admin/login', ['password'])];
        case 'POST /admin/login':
            $is_right = password_verify($_POST['password'] ?? '', Configuration::get('APP_ADMIN_SECRET'));
            if (!\Minz\form_is_ours() || !$is_right) {
                return [400, \Minz\form('/admin/login', ['password'], \Minz\CSRF_ERROR)];
            }
            $_SESSION['admin'] = true;
            return \Minz\redirect('/admin');
    }
    return [404, "<h1>404</h1>\n"];
}
