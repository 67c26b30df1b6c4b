package digits

import java.io.DataInputStream
import java.io.File

/** Reads pictures (width, height, ARGB, each a big-endian Int) and writes what `CentreDigit` makes. */
fun main(arguments: Array<String>) {
    DataInputStream(File(arguments[0]).inputStream().buffered()).use { input ->
        File(arguments[1]).outputStream().buffered().use { output ->
            repeat(input.readInt()) {
                val width = input.readInt()
                val height = input.readInt()
                val grey = FloatArray(width * height) { CentreDigit.grey(input.readInt()) }
                output.write(CentreDigit.centre(grey, width, height))
            }
        }
    }
}
