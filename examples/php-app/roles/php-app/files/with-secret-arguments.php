<?php

// Usage: php -d disable_functions=getopt with-secret-arguments.php SCRIPT ARGUMENT… < JSON
//
// Runs a PHP script with more arguments, which come as a JSON list on standard input: everybody
// on the server can read the arguments of a process, and some programs want passwords there.
// The script finds all of them in $argv and through getopt. PHP's own getopt reads the arguments
// of the process and nothing else, so it is disabled and stands here again.

$argv = array_merge(array_slice($argv, 1), json_decode(stream_get_contents(STDIN), true, 8, JSON_THROW_ON_ERROR));
$argc = count($argv);
$_SERVER['argv'] = $argv;
$_SERVER['argc'] = $argc;

function getopt(string $short_options, array $long_options = [], ?int &$rest_index = null): array
{
    $found = [];
    $add = function (string $name, string|false $value) use (&$found): void {
        $found[$name] = isset($found[$name]) ? [...(array) $found[$name], $value] : $value;
    };
    $words = $_SERVER['argv'];
    for ($i = 1; $i < count($words) && str_starts_with($words[$i], '-') && $words[$i] !== '-'; $i++) {
        if ($words[$i] === '--') {
            $i++;
            break;
        }
        if (str_starts_with($words[$i], '--')) {
            [$name, $value] = explode('=', substr($words[$i], 2), 2) + [1 => null];
            if (in_array("{$name}:", $long_options, true)) {
                $value ??= $words[++$i] ?? null;
                $value === null || $add($name, $value);
            } elseif (in_array("{$name}::", $long_options, true)) {
                $add($name, $value ?? false);
            } elseif (in_array($name, $long_options, true)) {
                $add($name, false);
            }
            continue;
        }
        for ($rest = substr($words[$i], 1); $rest !== ''; $rest = substr($rest, 1)) {
            $wants = strstr($short_options, $rest[0]);
            if ($wants === false || $rest[0] === ':') {
                continue;
            }
            if (substr($wants, 1, 1) !== ':') {
                $add($rest[0], false);
                continue;
            }
            $value = ltrim(substr($rest, 1), '=');
            if ($value === '' && substr($wants, 1, 2) !== '::') {
                $value = $words[++$i] ?? '';
            }
            $add($rest[0], $value === '' ? false : $value);
            break;
        }
    }
    $rest_index = $i;
    return $found;
}

require str_starts_with($argv[0], '/') ? $argv[0] : getcwd() . '/' . $argv[0];
