# SPDX-License-Identifier: Apache-2.0
# The boot sector of the guest disk: all of what the cloud's servers run.
#
# It writes one line to the serial port, writes the text WRITTEN-BY-GUEST to byte 1024 of its
# own disk (the rest of that sector becomes zeros), writes a second line to tell how that went,
# and halts. So the console log shows that a server booted, and a snapshot of its disk can be
# told from the image that it came from.
#
# If the byte "busy" is not zero it goes on writing instead of halting: the text with a number
# that grows by one each time behind it (32 bits, little endian), into 256 sectors in turn, the
# n-th into sector 32768 + n % 256, about a hundred a second. So a copy of the disk shows whether
# all of it is from one moment: then the sectors hold 256 numbers in a row.
#
# orchestrator/guest.py holds the assembled bytes; its comment says how they are made.

        .code16
        .set base, 0x7c00               # where the BIOS loads the sector
        .set sector, 0x8000             # where the sector to write is put together
        .set com1, 0x3f8

start:  cli
        xorw %ax, %ax
        movw %ax, %ds
        movw %ax, %es
        movw %ax, %ss
        movw $base, %sp
        sti
        cld
        movb %dl, base + drive          # the BIOS says from which disk it booted

        movw $base + booted, %si
        call print

        movw $sector, %di
        movw $256, %cx
        rep stosw                       # %ax is still zero: see print
        movw $base + text, %si
        movw $sector, %di
        movw $text_end - text, %cx
        rep movsb

        movb base + drive, %dl
        movw $base + packet, %si
        movw $0x4300, %ax               # extended write
        int $0x13
        movw $base + wrote, %si
        jnc report
        movw $base + failed, %si
report: call print
        cmpb $0, base + busy
        jne again
halt:   hlt
        jmp halt

again:  hlt                             # until the timer ticks: the machine has other work too
        movw $32, %bp
next:   incl sector + (text_end - text)
        movl sector + (text_end - text), %eax
        andl $255, %eax
        addl $32768, %eax
        movl %eax, base + number
        movb base + drive, %dl
        movw $base + packet, %si
        movw $0x4300, %ax
        int $0x13
        decw %bp
        jnz next
        jmp again

print:  lodsb                           # the text at %si, to its zero byte; leaves %ax zero
        testb %al, %al
        jz done
        movw $com1, %dx
        outb %al, %dx
        jmp print
done:   xorw %ax, %ax
        ret

drive:  .byte 0
busy:   .byte 0
packet: .byte 16, 0                     # its own size
        .word 1                         # sectors
        .word sector, 0                 # offset and segment of the data
number: .quad 2                         # the sector's number on the disk: byte 1024
booted: .asciz "OSC-IMAGETOOLS-GUEST-BOOTED\r\n"
wrote:  .asciz "OSC-IMAGETOOLS-GUEST-WROTE\r\n"
failed: .asciz "OSC-IMAGETOOLS-GUEST-WRITE-FAILED\r\n"
text:   .ascii "WRITTEN-BY-GUEST"
text_end:
