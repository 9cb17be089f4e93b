<?php

require __DIR__ . '/../src/app.php';

$app = new App(dirname(__DIR__));
$path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
if (!in_array($path, ['/', '/login', '/about'], true)) {
    http_response_code(404);
    exit("not found\n");
}
header('Content-Type: text/plain; charset=utf-8');
$kind = $app->isPostgresql() ? 'PostgreSQL' : 'SQLite';
echo "{$app->env['APP_HOST']} {$app->version}, {$kind} with {$app->count()} items\n";
