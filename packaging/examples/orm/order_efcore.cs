// EF Core (7 or later) with Npgsql.EntityFrameworkCore.PostgreSQL: an order and its messages, in one transaction.
//
// This program was neither compiled nor run: no .NET was at hand. Tested against the view, statement by statement, is SQL of the
// shape that logs of other programs with EF Core show for such entities; it was not captured from this one:
//
// SQL: INSERT INTO orders (customer) VALUES ($1) RETURNING id
// SQL: INSERT INTO boxhaul.outgoing (headers, key, payload, subject) VALUES ($1, $2, $3, $4) RETURNING id
//
// The types of the parameters are text; and jsonb, text, bytea, text.
using System.ComponentModel.DataAnnotations.Schema;
using System.Text;
using System.Text.Json;
using Microsoft.EntityFrameworkCore;

using var db = new Shop();
using var transaction = db.Database.BeginTransaction(); // rolled back when disposed of before Commit
var order = new Order { Customer = "Ada" };
db.Add(order);
db.SaveChanges(); // draws the order's id
var body = Encoding.UTF8.GetBytes(JsonSerializer.Serialize(new { order = order.Id }));
var created = new Outgoing { Subject = "orders.created", Key = $"{order.Id}", Payload = body, Headers = """{"Trace": "a-1"}""" };
var paid = new Outgoing { Subject = "orders.paid", Key = $"{order.Id}", Payload = body };
db.Add(created);
db.SaveChanges(); // EF Core does not promise the order of rows in one SaveChanges
db.Add(paid);
db.SaveChanges();
transaction.Commit();
Console.WriteLine($"{order.Id} {created.Id} {paid.Id}");

[Table("orders")]
class Order
{
	[Column("id")] public long Id { get; set; }
	[Column("customer")] public string Customer { get; set; } = "";
}

class Outgoing
{
	[Column("id")] public long Id { get; set; }
	[Column("subject")] public string Subject { get; set; } = "";
	[Column("key")] public string? Key { get; set; }
	[Column("payload")] public byte[] Payload { get; set; } = [];
	[Column("headers", TypeName = "jsonb")] public string? Headers { get; set; }
}

class Shop : DbContext
{
	protected override void OnConfiguring(DbContextOptionsBuilder options) =>
		options.UseNpgsql(Environment.GetEnvironmentVariable("DATABASE_CONNECTION")); // Host=localhost;Database=shop;Username=shop

	protected override void OnModelCreating(ModelBuilder model)
	{
		model.Entity<Order>();
		// Out of the migrations: the view is boxhaul's.
		model.Entity<Outgoing>().ToTable("outgoing", "boxhaul", table => table.ExcludeFromMigrations());
	}
}
