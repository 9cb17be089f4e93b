#!/usr/bin/env php
<?php

require '_cli.php';

$options = options(['user:', 'password:', 'email:', 'language:']);
config();
$folder = ROOT . "/data/users/{$options['user']}";
if (is_dir($folder)) {
    fail('the user already exists', 3);
}
mkdir($folder, 0750, true);
$user = ['mail' => $options['email'], 'passwordHash' => password_hash($options['password'], PASSWORD_BCRYPT)];
file_put_contents("{$folder}/config.php", '<?php return ' . var_export($user, true) . ";\n");
echo "created {$options['user']}\n";
