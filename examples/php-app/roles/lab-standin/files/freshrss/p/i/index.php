<?php

$config = require dirname(__DIR__, 2) . '/data/config.php';
$db = $config['db'];
$pdo = new PDO("pgsql:host={$db['host']};port={$db['port']};dbname={$db['base']}", $db['user'], $db['password']);
$pdo->setAttribute(PDO::ATTR_ERRMODE, PDO::ERRMODE_EXCEPTION);
$count = $pdo->query("SELECT COUNT(*) FROM {$db['prefix']}entry")->fetchColumn();
$version = trim(file_get_contents(dirname(__DIR__, 2) . '/version'));
header('Content-Type: text/plain; charset=utf-8');
echo "FreshRSS {$version} at {$config['base_url']}, PostgreSQL with {$count} entries\n";
