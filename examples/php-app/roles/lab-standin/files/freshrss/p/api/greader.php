<?php

header('Content-Type: text/plain; charset=utf-8');
echo isset($_SERVER['PATH_INFO']) && $_SERVER['PATH_INFO'] !== '' ? $_SERVER['PATH_INFO'] : 'OK', "\n";
