<?php

// Usage: merge-php-config.php check FILE [STEP]
//        merge-php-config.php run   FILE [STEP]
//
// Puts values into a configuration that an application writes itself: FILE is PHP that returns an
// array. Maps merge, anything else replaces what is there, and all other values stay. The wanted
// values are the JSON object in the variable MERGE_VALUES. STEP, where given, makes FILE.
//
// `check` exits with 0 if FILE holds all of them, else with 1. Anything that is wrong with FILE
// ends both with 2. FILE is code of the application and runs here: the application's account has
// to run this. No value is ever printed, so that neither PHP's messages nor those of FILE are shown.

const MOST_BYTES = 1 << 20;
const MOST_LEVELS = 64;
const MOST_TRIES = 5;

ini_set('display_errors', '0');
ini_set('log_errors', '0');
// The command line has no limit of its own.
ini_set('memory_limit', '128M');
$is_done = false;
register_shutdown_function(function () use (&$is_done): void {
    if (!$is_done) {
        while (ob_get_level() > 0) {
            ob_end_clean();
        }
        fwrite(STDERR, "the file ended the program instead of returning an array\n");
        exit(2);
    }
});

/** Ends the program without a word of PHP's. */
function end_with(int $code, string $message = ''): never
{
    global $is_done;
    $is_done = true;
    if ($message !== '') {
        fwrite(STDERR, "{$message}\n");
    }
    exit($code);
}

/** The text of FILE. */
function text_of(string $path): string
{
    clearstatcache();
    $size = is_file($path) ? filesize($path) : false;
    $text = $size !== false && $size <= MOST_BYTES ? file_get_contents($path, false, null, 0, MOST_BYTES + 1) : false;
    if ($size !== false && ($size > MOST_BYTES || ($text !== false && strlen($text) > MOST_BYTES))) {
        end_with(2, "`{$path}` is larger than " . MOST_BYTES . ' bytes');
    }
    return $text === false ? end_with(2, "`{$path}` cannot be read") : $text;
}

/** What FILE returns, in a scope of its own. */
function returned_by(string $path): array
{
    ob_start();
    try {
        $data = (static fn () => include func_get_arg(0))($path);
    } catch (Throwable $error) {
        // The message of an error can quote what is in the file.
        end_with(2, "`{$path}` cannot be read as PHP: " . $error::class . ' in line ' . $error->getLine());
    }
    if (ob_get_clean() !== '') {
        end_with(2, "`{$path}` prints something instead of only returning an array");
    }
    if (!is_array($data)) {
        end_with(2, "`{$path}` returns no array");
    }
    if (!is_plain($data)) {
        end_with(2, "`{$path}` holds something that cannot be written back, such as an object");
    }
    return $data;
}

/** Whether a value can be written as PHP and read again. */
function is_plain(mixed $value, int $level = 0): bool
{
    if (!is_array($value)) {
        return $value === null || is_scalar($value);
    }
    if ($level === MOST_LEVELS) {
        return false;
    }
    foreach ($value as $item) {
        if (!is_plain($item, $level + 1)) {
            return false;
        }
    }
    return true;
}

/** $found with the values of $wanted. In JSON, a map can be told from a list. */
function merged(mixed $found, mixed $wanted): mixed
{
    if (is_array($wanted)) {
        return array_map(fn ($item) => merged(null, $item), $wanted);
    }
    if (!$wanted instanceof stdClass) {
        return $wanted;
    }
    $merged = is_array($found) ? $found : [];
    foreach (get_object_vars($wanted) as $key => $value) {
        $merged[$key] = merged($merged[$key] ?? null, $value);
    }
    return $merged;
}

/** Whether two values are the same, in whatever order their maps are written. */
function is_same(mixed $one, mixed $other): bool
{
    if (!is_array($one) || !is_array($other)) {
        return $one === $other;
    }
    if (count($one) !== count($other)) {
        return false;
    }
    foreach ($one as $key => $value) {
        if (!array_key_exists($key, $other) || !is_same($value, $other[$key])) {
            return false;
        }
    }
    return true;
}

/** Writes a file beside $path that takes its place, unless $path is no longer $before. */
function replace(string $path, string $before, string $text): bool
{
    $new = dirname($path) . '/.infra-' . basename($path);
    $fail = function (string $what) use ($new): never {
        @unlink($new);
        end_with(2, $what);
    };
    $mode = fileperms($path);
    umask(0077);
    // A run that was cut may have left it.
    @unlink($new);
    $file = @fopen($new, 'x') ?: $fail('nothing can be written in `' . dirname($path) . '`');
    $is_written = fwrite($file, $text) === strlen($text) && fflush($file)
        && $mode !== false && chmod($new, $mode & 0777) && fsync($file);
    if (!fclose($file) || !$is_written) {
        $fail("`{$new}` cannot be written");
    }
    // The application may have saved something since it was read.
    if (text_of($path) !== $before) {
        unlink($new);
        return false;
    }
    return @rename($new, $path) ?: $fail("`{$path}` cannot be replaced");
}

/** Whether there was nothing to do. A change is written where $writes. */
function merge_into(string $path, stdClass $wanted, bool $writes): bool
{
    for ($try = 0; $try < MOST_TRIES; $try++) {
        $before = text_of($path);
        $found = returned_by($path);
        $merged = merged($found, $wanted);
        if (is_same($found, $merged)) {
            return true;
        }
        // As FreshRSS itself writes it.
        $text = "<?php\nreturn " . var_export($merged, true) . ";\n";
        if (strlen($text) > MOST_BYTES) {
            end_with(2, "`{$path}` would become larger than " . MOST_BYTES . ' bytes');
        }
        if (!$writes || replace($path, $before, $text)) {
            return false;
        }
    }
    end_with(2, "`{$path}` is changed by others again and again");
}

[, $action, $path, $step] = $argv + [1 => '', '', ''];
if (!in_array($action, ['check', 'run'], true) || $path === '') {
    end_with(2, 'usage: merge-php-config.php check|run FILE [STEP]');
}
if (posix_geteuid() === 0) {
    end_with(2, 'the application\'s account has to run this, not root');
}
try {
    $wanted = json_decode((string) getenv('MERGE_VALUES'), false, MOST_LEVELS, JSON_THROW_ON_ERROR);
} catch (JsonException) {
    $wanted = null;
}
if (!$wanted instanceof stdClass) {
    end_with(2, 'the wanted values in MERGE_VALUES are no JSON object');
}
// The folder may be a link to where the application keeps its data.
$real = realpath($path);
if ($real === false) {
    $hint = $step === '' ? 'no step of `setup` names it in `creates`' : "the step `{$step}` should have made it";
    end_with(2, "`{$path}` is not there: {$hint}");
}
$is_there = merge_into($real, $wanted, $action === 'run');
end_with($action === 'check' && !$is_there ? 1 : 0);
