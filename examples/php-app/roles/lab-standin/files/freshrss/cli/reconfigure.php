#!/usr/bin/env php
<?php

require '_cli.php';

$options = options(['base-url:', 'title:', 'api-enabled']);
$config = config();
$config['base_url'] = $options['base-url'] ?? $config['base_url'];
$config['title'] = $options['title'] ?? $config['title'];
write_config($config);
echo "reconfigured\n";
