<?php

// What the programs of the stand-in share. Like FreshRSS's they read their options with getopt
// and refuse what they do not know.

const ROOT = __DIR__ . '/..';

function fail(string $message, int $code = 1): never
{
    fwrite(STDERR, "{$message}\n");
    exit($code);
}

function options(array $known): array
{
    global $argv;
    foreach (array_slice($argv, 1) as $word) {
        if (str_starts_with($word, '--') && !preg_grep('/^' . preg_quote(strtok(substr($word, 2), '='), '/') . ':?$/', $known)) {
            fail("unknown option: {$word}");
        }
    }
    return getopt('', $known);
}

function config(): array
{
    $path = ROOT . '/data/config.php';
    return is_file($path) ? require $path : fail('FreshRSS is not installed', 2);
}

function write_config(array $config): void
{
    file_put_contents(ROOT . '/data/config.php', '<?php return ' . var_export($config, true) . ";\n");
}
