#!/usr/bin/env php
<?php

require '_cli.php';

$options = options([
    'default-user:', 'auth-type:', 'environment:', 'base-url:', 'language:', 'title:', 'api-enabled',
    'db-type:', 'db-host:', 'db-user:', 'db-password:', 'db-base:', 'db-prefix:',
]);
if (is_file(ROOT . '/data/config.php')) {
    fail('FreshRSS is already installed', 3);
}
[$host, $port] = explode(':', $options['db-host']) + [1 => '5432'];
// Without a connection nothing is installed.
new PDO("pgsql:host={$host};port={$port};dbname={$options['db-base']}", $options['db-user'], $options['db-password']);
write_config([
    'salt' => bin2hex(random_bytes(16)),
    'base_url' => $options['base-url'],
    'title' => $options['title'],
    'default_user' => $options['default-user'],
    'db' => [
        'host' => $host, 'port' => $port, 'user' => $options['db-user'],
        'password' => $options['db-password'], 'base' => $options['db-base'],
        'prefix' => $options['db-prefix'],
    ],
]);
echo "installed\n";
