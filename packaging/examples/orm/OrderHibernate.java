// Hibernate 6: an order and its messages, in one transaction.
//
//   lib: org.hibernate.orm:hibernate-core, org.postgresql:postgresql and what they need
//   export JDBC_URL='jdbc:postgresql://localhost/shop?user=shop'
//   javac -cp 'lib/*' OrderHibernate.java && java -cp 'lib/*:.' OrderHibernate
import jakarta.persistence.*;
import java.nio.charset.StandardCharsets;
import org.hibernate.SessionFactory;
import org.hibernate.annotations.ColumnTransformer;
import org.hibernate.cfg.Configuration;

public class OrderHibernate {
	@Entity(name = "Order") @Table(name = "orders")
	public static class Order {
		@Id @GeneratedValue(strategy = GenerationType.IDENTITY) Long id;
		String customer;
	}

	// No schema generation: the view is boxhaul's. IDENTITY it must be: a SEQUENCE would draw ids that the view drops.
	@Entity(name = "Outgoing") @Table(schema = "boxhaul", name = "outgoing")
	public static class Outgoing {
		@Id @GeneratedValue(strategy = GenerationType.IDENTITY) Long id;
		String subject;
		String key;
		byte[] payload;
		@ColumnTransformer(write = "?::jsonb") String headers;

		Outgoing() {}

		Outgoing(String subject, String key, byte[] payload, String headers) {
			this.subject = subject;
			this.key = key;
			this.payload = payload;
			this.headers = headers;
		}
	}

	public static void main(String[] args) {
		Configuration configuration = new Configuration().addAnnotatedClass(Order.class).addAnnotatedClass(Outgoing.class)
				.setProperty("hibernate.connection.url", System.getenv("JDBC_URL"));
		try (SessionFactory factory = configuration.buildSessionFactory()) {
			String drawn = factory.fromTransaction(session -> { // rolled back when something is thrown
				Order order = new Order();
				order.customer = "Ada";
				session.persist(order);
				byte[] body = ("{\"order\": " + order.id + "}").getBytes(StandardCharsets.UTF_8);
				Outgoing created = new Outgoing("orders.created", order.id.toString(), body, "{\"Trace\": \"a-1\"}");
				Outgoing paid = new Outgoing("orders.paid", order.id.toString(), body, null);
				session.persist(created);
				session.persist(paid);
				return order.id + " " + created.id + " " + paid.id;
			});
			System.out.println(drawn);
		}
	}
}
