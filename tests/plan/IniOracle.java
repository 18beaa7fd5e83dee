import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.StringReader;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.util.Arrays;
import java.util.Properties;

/** Reads each file named on standard input (one path a line) with java.util.Properties and prints one JSON line for it:
 *  {"entries":{"key":"value"}} or {"error":"…"}. The text is decoded by rule I7: a BOM is skipped, UTF-8 where valid, else Latin-1. */
public class IniOracle {
  static String decode(byte[] b) {
    if (b.length >= 3 && b[0] == (byte) 0xef && b[1] == (byte) 0xbb && b[2] == (byte) 0xbf) b = Arrays.copyOfRange(b, 3, b.length);
    try {
      return StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(b)).toString();
    } catch (CharacterCodingException e) {
      return new String(b, StandardCharsets.ISO_8859_1);
    }
  }

  static void quote(StringBuilder out, String s) {
    out.append('"');
    for (int i = 0; i < s.length(); i++) {
      char c = s.charAt(i);
      if (c < 0x20 || c > 0x7e || c == '"' || c == '\\') out.append(String.format("\\u%04x", (int) c));
      else out.append(c);
    }
    out.append('"');
  }

  static String read(String path) throws IOException {
    StringBuilder out = new StringBuilder();
    Properties p = new Properties();
    try {
      p.load(new StringReader(decode(Files.readAllBytes(Paths.get(path)))));
    } catch (IllegalArgumentException e) {
      out.append("{\"error\":");
      quote(out, String.valueOf(e.getMessage()));
      return out.append("}").toString();
    }
    out.append("{\"entries\":{");
    String comma = "";
    for (String key : p.stringPropertyNames()) {
      out.append(comma);
      quote(out, key);
      out.append(':');
      quote(out, p.getProperty(key));
      comma = ",";
    }
    return out.append("}}").toString();
  }

  public static void main(String[] args) throws IOException {
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String path = in.readLine(); path != null; path = in.readLine()) System.out.println(read(path));
  }
}
