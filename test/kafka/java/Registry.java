import java.lang.reflect.Method;

/** A schema registry that keeps all in memory: Apicurio, whose API Confluent's clients understand. */
public final class Registry {
  private Registry() {}

  public static void main(String[] args) throws Exception {
    Guard.untilInputEnds();
    Method main = Class.forName("io.apicurio.registry.RegistryQuarkusMain").getMethod("main", String[].class);
    main.invoke(null, (Object) args);
  }
}
