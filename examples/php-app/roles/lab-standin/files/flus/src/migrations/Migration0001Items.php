<?php

class Migration0001Items
{
    public const TABLE = 'items';

    public function migrate(PDO $database): void
    {
        $database->exec('CREATE TABLE items (name TEXT)');
        $database->exec("INSERT INTO items VALUES ('first')");
    }

    public function rollback(PDO $database): void
    {
        $database->exec('DROP TABLE items');
    }
}
