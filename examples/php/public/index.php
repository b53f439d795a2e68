<?php
// The front controller: every request that is not a file comes here.
declare(strict_types=1);

$release = getenv('ALCEDO_RELEASE') ?: 'none';
$path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);

function answer(array $body, int $status = 200): void
{
    http_response_code($status);
    header('Content-Type: application/json');
    echo json_encode($body), "\n";
}

if ($path === '/_health') {
    // r<date>-<time>-<commit>: the last part is what the build was made from.
    $parts = explode('-', $release);
    $writable = is_writable(__DIR__ . '/uploads');
    answer(
        ['status' => $writable ? 'ok' : 'uploads not writable', 'commit' => end($parts), 'release' => $release],
        $writable ? 200 : 503,
    );
} elseif ($path === '/upload' && $_SERVER['REQUEST_METHOD'] === 'POST') {
    $name = bin2hex(random_bytes(8));
    file_put_contents(__DIR__ . "/uploads/$name", file_get_contents('php://input'));
    answer(['stored' => $name, 'release' => $release], 201);
} elseif ($path === '/orders' && $_SERVER['REQUEST_METHOD'] === 'POST') {
    answer(['accepted_bytes' => strlen(file_get_contents('php://input')), 'release' => $release]);
} elseif (str_starts_with($path, '/uploads/') && is_file(__DIR__ . '/uploads/' . basename($path))) {
    readfile(__DIR__ . '/uploads/' . basename($path));
} else {
    answer(['message' => 'hello', 'release' => $release]);
}
