"""What a loop that trains needs beside the kernel: batches of sequences of several lengths, flat vectors, Adam."""
