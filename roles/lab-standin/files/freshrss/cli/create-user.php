#!/usr/bin/env php
<?php

require '_cli.php';

$options = options(['user:', 'password:', 'email:', 'language:']);
$db = config()['db'];
$folder = ROOT . "/data/users/{$options['user']}";
if (is_file("{$folder}/config.php")) {
    fail('the user already exists', 3);
}
is_dir($folder) || mkdir($folder, 0750, true);
$pdo = new PDO("pgsql:host={$db['host']};port={$db['port']};dbname={$db['base']}", $db['user'], $db['password']);
$pdo->exec("CREATE TABLE IF NOT EXISTS {$db['prefix']}entry (title TEXT)");
$user = ['mail' => $options['email'], 'passwordHash' => password_hash($options['password'], PASSWORD_BCRYPT)];
file_put_contents("{$folder}/config.php", '<?php return ' . var_export($user, true) . ";\n");
echo "created {$options['user']}\n";
