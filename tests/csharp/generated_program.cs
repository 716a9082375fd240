// Reads and writes values of the generated classes of tests/harness/bazaar_rooms.py, as they are on the wire.

using System;
using System.Collections.Generic;
using Bazaars;
using Tickwire;

public static class GeneratedProgram
{
    public static int Main()
    {
        var part = new Listing { Item = "hilt", Price = 2 };
        var listing = new Listing { Item = "sword", Price = 9, Currency = Currency.Gems, Parts = new List<Listing> { part } };
        Print(listing.ToWire());
        Listing read = Listing.FromWire(Decoded(listing.ToWire()));
        Console.WriteLine(read.Item + " " + read.Price + " " + read.Currency.Value + " " + read.Parts.Value[0].Item);
        Console.WriteLine(read.Parts.Value[0].Currency.HasValue + " " + read.Parts.Value[0].Parts.HasValue);

        var fields = listing.ToWire();
        fields["currency"] = "shells";
        Console.WriteLine(Listing.FromWire(fields).Currency.Value);

        var booth = Map("place", new List<object> { 1.5, 2L }, "opened", null, "closed", "2026-01-02");
        var added = ListingAdded.FromWire(Map("listing", listing.ToWire(), "booths", Map("7", booth)));
        Console.WriteLine(added.Booths[7].Place.Item1 + " " + added.Booths[7].Place.Item2 + " " + added.Booths[7].Closed);

        var sold = Traded.FromWire(Map("how", Map("type", "sale", "amount", 1L), "receipt", new byte[] { 1, 2 }));
        Console.WriteLine(((Sale)sold.How).Amount + " " + sold.Receipt.Length);
        Console.WriteLine(((Gift)Traded.FromWire(Map("how", Map("type", "gift", "to", "ann"), "receipt", new byte[0])).How).To);
        Console.WriteLine(ListingPage.FromWire(Map("listings", new List<object>())).Next.HasValue);
        Console.WriteLine(ListingPage.FromWire(Map("listings", new List<object>(), "next", null)).Next.Value == null);
        JoinOptions join = WireValues.WithOptions(
            new JoinOptions { Name = "lobby" }, new TraderOptions { Nickname = "ann" }, new BazaarOptions { Season = "spring" });
        Console.Write(join.Name + " ");
        Print(join.Options);
        try
        {
            Listing.FromWire(Map("item", "sword", "price", "nine"));
        }
        catch (FormatException error)
        {
            Console.WriteLine(error.Message);
        }

        return 0;
    }

    private static Dictionary<string, object> Map(params object[] entries)
    {
        var map = new Dictionary<string, object>();
        for (int index = 0; index < entries.Length; index += 2)
        {
            map[(string)entries[index]] = entries[index + 1];
        }

        return map;
    }

    private static object Decoded(object value)
    {
        return MessagePack.Decode(MessagePack.Encode(value));
    }

    private static void Print(object value)
    {
        Console.WriteLine(BitConverter.ToString(MessagePack.Encode(value)).Replace("-", "").ToLowerInvariant());
    }
}
