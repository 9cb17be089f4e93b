<?php

// A stand-in for the extension xExtension-Flus of FreshRSS. Each script calls this file.

namespace Flus;

// As in the real one the way goes up from where the file really is, which is no release if
// `extensions` is a link.
require __DIR__ . '/../../constants.php';

/** The only place where a failure is told: the scripts end with 0 whatever happens. */
function log(string $level, string $message): void
{
    file_put_contents(DATA_PATH . '/users/_/log.txt', '[' . date('r') . "] [{$level}] --- {$message}\n", FILE_APPEND);
}

function sync(): void
{
    $billing = (require DATA_PATH . '/config.php')['billing'] ?? [];
    $host = $billing['flus_api_host'] ?? 'https://flus.fr';
    foreach (glob(DATA_PATH . '/users/*/config.php') as $file) {
        $user = require $file;
        $curl = curl_init("{$host}/api/account?email=" . urlencode($user['mail_login'] ?? ''));
        $key = ($billing['flus_private_key'] ?? '') . ':';
        curl_setopt_array($curl, [CURLOPT_RETURNTRANSFER => true, CURLOPT_TIMEOUT => 5, CURLOPT_USERPWD => $key]);
        $answer = curl_exec($curl);
        $code = curl_getinfo($curl, CURLINFO_RESPONSE_CODE);
        if ($answer === false) {
            log('error', 'getAccount failed: ' . curl_error($curl) . '.');
        } elseif ($code < 200 || $code >= 300) {
            log('error', "getAccount failed, HTTP code {$code}.");
        } else {
            $account = json_decode($answer, true);
            $user['subscription'] = ['account_id' => $account['id'], 'expired_at' => $account['expired_at']];
            file_put_contents($file, "<?php\nreturn " . var_export($user, true) . ";\n");
        }
    }
}
