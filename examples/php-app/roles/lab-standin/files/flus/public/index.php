<?php

require __DIR__ . '/../src/app.php';

$app = new App(dirname(__DIR__));
setup_locale();
$path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);

// As in the real ones: under any other name than APP_HOST, nobody stays logged in.
session_set_cookie_params(['domain' => $app->env['APP_HOST'], 'secure' => true, 'httponly' => true]);
session_name('standin');

header('Content-Type: text/plain; charset=utf-8');
header("Content-Security-Policy: default-src 'self'");
switch ($path) {
    case '/':
        header('Location: /login', true, 302);
        break;
    case '/login':
        session_start();
        echo "{$app->env['APP_HOST']}: log in\n";
        break;
    case '/about':
    case '/tarifs':
        $kind = $app->isPostgresql() ? 'PostgreSQL' : 'SQLite';
        echo "{$app->env['APP_HOST']} {$app->version}, {$kind} with {$app->count()} items\n";
        break;
    case '/slow':
        // A reload of PHP-FPM has to wait for this answer, which ends when the file is there.
        header('X-Accel-Buffering: no');
        while (ob_get_level() > 0) {
            ob_end_flush();
        }
        echo "{$app->env['APP_HOST']} begins\n";
        $end = dirname(__DIR__) . '/data/slow-may-end';
        while (!file_exists($end)) {
            // nginx gives up on an answer that pauses for a minute. Where nobody reads, PHP ends here.
            echo "\n";
            flush();
            usleep(50000);
        }
        unlink($end);
        echo "{$app->env['APP_HOST']} took its time\n";
        break;
    case '/dummy-subscriber':
        echo $_GET['hub_challenge'] ?? '', "\n";
        break;
    default:
        http_response_code(404);
        echo "not found\n";
}
