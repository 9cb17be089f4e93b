#!/usr/bin/env php
<?php

// Like FreshRSS: reads its options with getopt, refuses a second installation, and writes
// data/config.php itself.

$options = getopt('', [
    'default-user:', 'auth-type:', 'base-url:', 'language:', 'api-enabled', 'db-type:', 'db-host:',
    'db-user:', 'db-password:', 'db-base:', 'db-prefix:',
]);
$root = dirname(__DIR__);
if (is_file("{$root}/data/config.php")) {
    fwrite(STDERR, "FreshRSS is already installed\n");
    exit(3);
}
[$host, $port] = explode(':', $options['db-host']) + [1 => '5432'];
$pdo = new PDO("pgsql:host={$host};port={$port};dbname={$options['db-base']}", $options['db-user'], $options['db-password']);
$pdo->setAttribute(PDO::ATTR_ERRMODE, PDO::ERRMODE_EXCEPTION);
$pdo->exec("CREATE TABLE IF NOT EXISTS {$options['db-prefix']}entry (title TEXT)");
$config = [
    'salt' => bin2hex(random_bytes(16)),
    'base_url' => $options['base-url'],
    'db' => [
        'host' => $host, 'port' => $port, 'user' => $options['db-user'],
        'password' => $options['db-password'], 'base' => $options['db-base'],
        'prefix' => $options['db-prefix'],
    ],
];
file_put_contents("{$root}/data/config.php", '<?php return ' . var_export($config, true) . ";\n");
echo "installed\n";
