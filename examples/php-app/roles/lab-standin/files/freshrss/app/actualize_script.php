<?php

$config = require dirname(__DIR__) . '/data/config.php';
echo "feeds of {$config['base_url']} are up to date\n";
