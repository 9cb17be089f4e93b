#!/usr/bin/perl
# Usage: flip.pl HOME COUNTS
#
# A hostile neighbour: for as long as it runs, it puts symlinks, pipes, folders, files of its own
# and files that root keeps in HOME in the place of everything that infra looks at or changes
# there, and swaps folders on the way for symlinks. COUNTS holds how often, by name, and each moment
# when this user could read something of root's.
use strict;
use Fcntl;
use POSIX qw(mkfifo);

my ($home, $counts) = @ARGV;
chdir $home or die "$home: $!";
my @names = qw(file root-file folder root-folder line link stamp clone unpacked .ssh/authorized_keys);
my @folders = qw(tree .ssh);
my %done;
my $round = 0;

my %won;

# Looks whether this user can read something of root's under a name.
sub look {
    my ($name) = @_;
    sysopen my $file, $name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW or return;
    return if !-f $file;
    my $text = "";
    sysread $file, $text, 4096;
    $won{$name} = 1 if $text =~ /CANARY/;
}

sub away {
    my ($name) = @_;
    return if !-l $name && !-e $name;
    unlink $name or rmdir $name or rename $name, ".away." . $round++;
}

# Makes one of the things that infra does not expect.
sub bait {
    my ($name, $kind) = @_;
    away($name);
    return symlink "/root/canary", $name if $kind == 0;
    return symlink "/root/victim", $name if $kind == 1;
    return mkfifo $name, 0666 if $kind == 2;
    return mkdir $name, 0777 if $kind == 3;
    return symlink "/dev/zero", $name if $kind == 4;
    if ($kind == 5) {
        open my $file, ">", $name or return 0;
        print $file "drift $round\n";
        return close $file;
    }
    # A thing that root keeps here for itself: its name is this user's to give.
    return rename "private.txt", $name if $kind == 6;
    return rename "private", $name;
}

while (1) {
    for my $name (@names) {
        my $kind = $round++ % 8;
        bait(".bait", $kind) or next;
        look($name);
        away($name) if $kind == 3 || $kind == 7 || -d $name && !-l $name;
        $done{$name}++ if rename ".bait", $name;
        if ($kind >= 6) {
            my $private = $kind == 6 ? "private.txt" : "private";
            rename $name, $private or rename ".bait", $private;
        }
    }
    for my $folder (@folders) {
        # infra may have made the folder anew while it was held: then nothing could be held again.
        rename ".held", ".away." . $round++ if -d ".held";
        rename $folder, ".held" or next;
        symlink "/root/victim", $folder;
        $done{$folder}++;
        unlink $folder;
        rename ".held", $folder;
        look("$folder/authorized_keys");
        look("$folder/file");
    }
    if ($round % 50 < 11) {
        open my $file, ">", "$counts.new" or next;
        print $file "$_ $done{$_}\n" for sort keys %done;
        print $file "won $_\n" for sort keys %won;
        close $file;
        rename "$counts.new", $counts;
    }
}
