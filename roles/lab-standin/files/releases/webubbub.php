<?php

// A stand-in for Webubbub, a hub of WebSub.

namespace App;

use Minz\Configuration;
use Minz\Database;
use Minz\Jobs;

function seed(): void
{
    Jobs::install('ProcessSubscriptions', 1, '+10 seconds');
    Jobs::install('ProcessContents', 1, '+10 seconds');
    Jobs::install('Cleaner', 1, '+1 day');
}

function jobs(): array
{
    return ['ProcessSubscriptions' => verify(...), 'ProcessContents' => deliver(...), 'Cleaner' => fn () => null];
}

/** A topic of others was accepted when it was asked for, and is rejected here. */
function verify(): void
{
    $allowed = array_filter(explode(',', Configuration::get('ALLOWED_TOPIC_ORIGINS')));
    foreach (Database::run("SELECT id, topic FROM subscriptions WHERE status = 'new'")->fetchAll() as $subscription) {
        $is_ours = array_filter($allowed, fn ($origin) => str_starts_with($subscription['topic'], trim($origin)));
        $status = !$allowed || $is_ours ? 'verified' : 'rejected';
        Database::run('UPDATE subscriptions SET status = ? WHERE id = ?', [$status, $subscription['id']]);
    }
}

function deliver(): void
{
    Database::run("UPDATE contents SET status = 'delivered' WHERE status = 'new'");
}

function command(string $command, array $parameters): ?array
{
    if (!(Configuration::$release['request'] ?? false)) {
        return null;
    }
    switch ($command) {
        case 'subscriptions validate':
            // This release was written for PHP 7.
            if (Database::run("SELECT COUNT(*) FROM subscriptions WHERE status = 'new'")->fetchColumn() > 0) {
                throw new \TypeError('the release cannot validate subscriptions with PHP 8');
            }
            return [200, ''];
        case 'subscriptions verify':
        case 'subscriptions expire':
        case 'contents fetch':
            return [200, ''];
        case 'contents deliver':
            deliver();
            return [200, ''];
    }
    return null;
}

function page(string $method, string $path): array
{
    $text = ['Content-Type' => 'text/plain; charset=utf-8'];
    switch ("{$method} {$path}") {
        case 'GET /':
            return [200, "<h1>Welcome on Webubbub!</h1>\n"];
        case 'GET /dummy-subscriber':
            return [200, $_GET['hub_challenge'] ?? '', $text];
        case 'POST /dummy-subscriber':
            return [200, '', $text];
        case 'POST /':
            return hub($_POST['hub_mode'] ?? '', $_POST['hub_topic'] ?? $_POST['hub_url'] ?? '', $text);
    }
    return [404, "<h1>404</h1>\n"];
}

function hub(string $mode, string $topic, array $text): array
{
    if (!filter_var($topic, FILTER_VALIDATE_URL) || !in_array($mode, ['subscribe', 'unsubscribe', 'publish'], true)) {
        return [400, "hub.mode or hub.topic is invalid\n", $text];
    }
    if ($mode === 'publish') {
        Database::run("INSERT INTO contents (created_at, url, status) VALUES (?, ?, 'new')", [Database::now(), $topic]);
        return [200, '', $text];
    }
    $values = [Database::now(), $_POST['hub_callback'] ?? '', $topic];
    Database::run("INSERT INTO subscriptions (created_at, callback, topic, status) VALUES (?, ?, ?, 'new')", $values);
    return [202, '', $text];
}
