// Interpolation, its clock, prediction and the values of generated code.

using System;
using System.Collections.Generic;

namespace Tickwire.Tests
{
    public static class PlayTests
    {
        public static IEnumerable<Test> All()
        {
            yield return new Test("clock: the least delayed frame shows when ticks happen", LeastDelayed);
            yield return new Test("clock: ticks that have shifted are followed after four frames", Shifted);
            yield return new Test("clock: it restarts when the tick goes back", GoesBack);
            yield return new Test("interpolation: between two snapshots, each kind by its rule", Between);
            yield return new Test("interpolation: entities that come and go", ComeAndGo);
            yield return new Test("interpolation: another world, and a tick that goes back, discard snapshots", Discarded);
            yield return new Test("interpolation: quaternions turn by the shorter way", Turning);
            yield return new Test("values: read by their types, with the field in the error", ReadValues);
            yield return new Test("values: written as MessagePack encodes them", WrittenValues);
        }

        private static void LeastDelayed()
        {
            var clock = new TickClock(20);
            Check.That(double.IsNegativeInfinity(clock.RenderTick(0)), "before the first frame");
            clock.Observe(10, 530);
            Check.Near(8, clock.RenderTick(530), 1e-9, "two ticks behind");
            clock.Observe(11, 560);
            Check.Near(9, clock.RenderTick(560), 1e-9, "the second frame was less late");
            clock.Observe(12, 640);
            Check.Near(9 + 80.0 / 50, clock.RenderTick(640), 1e-9, "a late frame does not move the clock");
        }

        private static void Shifted()
        {
            var clock = new TickClock(20);
            for (uint tick = 1; tick <= 10; tick++)
            {
                clock.Observe(tick, tick * 50);
            }

            for (uint tick = 11; tick <= 13; tick++)
            {
                clock.Observe(tick, tick * 50 + 200);
            }

            Check.Near(11 + 4, clock.RenderTick(13 * 50 + 200), 1e-9, "three late frames are late");
            clock.Observe(14, 14 * 50 + 200);
            Check.Near(12, clock.RenderTick(14 * 50 + 200), 1e-9, "after the fourth, the ticks have shifted");
            for (uint tick = 15; tick <= 18; tick++)
            {
                clock.Observe(tick, tick * 50 + 203);
            }

            Check.Near(16, clock.RenderTick(18 * 50 + 200), 1e-9, "the frames before the shift are forgotten");
        }

        private static void GoesBack()
        {
            var clock = new TickClock(20);
            clock.Observe(100, 5000);
            clock.Observe(40, 9000);
            Check.Near(38, clock.RenderTick(9000), 1e-9, "old ticks are meaningless");
        }

        // -- interpolation ----------------------------------------------------------------------------------

        private static void Between()
        {
            var world = new TestWorld();
            var ships = new Interpolation("ships", "x", "heading", "hp", "place");
            world.Set(1, new uint[] { 7 }, new long[] { 10, 250, 5, 0, 4 });
            ships.Push(world.World);
            world.Set(3, new uint[] { 7 }, new long[] { 20, 6, 9, 8, 4 });
            ships.Push(world.World);
            InterpolatedEntity ship = Only(ships.Sample(2));
            Check.Equal(7u, ship.Id, "id");
            Check.Near(15, ship.Number("x"), 1e-9, "a real");
            Check.Near(1, Math.Cos(ship.Number("heading")), 1e-9, "an angle, by the shorter way");
            Check.Near(5, ship.Number("hp"), 1e-9, "an integer keeps the older value");
            Check.Equal(new Vec2(4, 4), ship.Vec2("place"), "a vector");
            Check.Near(4, ship.Number("place_x"), 1e-9, "a part of a vector");
            Check.Near(20, Only(ships.Sample(9)).Number("x"), 1e-9, "after the newest");
            Check.Near(10, Only(ships.Sample(0)).Number("x"), 1e-9, "before the oldest");
            Check.Throws<ArgumentException>(() => ship.Number("y"), "a field that was not named");
            Check.Throws<ArgumentException>(() => ship.Vec2("x"), "a vector that was not named");
        }

        private static void ComeAndGo()
        {
            var world = new TestWorld();
            var ships = new Interpolation("ships", "x");
            world.Set(1, new uint[] { 1, 2 }, new long[] { 10, 0, 0, 0, 0 }, new long[] { 20, 0, 0, 0, 0 });
            ships.Push(world.World);
            world.Set(2, new uint[] { 2, 3 }, new long[] { 30, 0, 0, 0, 0 }, new long[] { 40, 0, 0, 0, 0 });
            ships.Push(world.World);
            var seen = new List<string>();
            foreach (InterpolatedEntity ship in ships.Sample(1.5))
            {
                seen.Add(ship.Id + ":" + ship.Number("x"));
            }

            Check.Equal("1:10 2:25", string.Join(" ", seen), "the entities");
            Check.Equal(0, Count(new Interpolation("ships", "x").Sample(1)), "entities without a snapshot");
        }

        private static void Discarded()
        {
            var world = new TestWorld();
            var ships = new Interpolation("ships", "x");
            for (uint tick = 1; tick <= 5; tick++)
            {
                world.Set(tick, new uint[] { 1 }, new long[] { 10 * tick, 0, 0, 0, 0 });
                ships.Push(world.World);
            }

            world.Set(2, new uint[] { 1 }, new long[] { 90, 0, 0, 0, 0 });
            ships.Push(world.World);
            Check.Near(90, Only(ships.Sample(4)).Number("x"), 1e-9, "later ticks are gone");
            Check.Near(10, Only(ships.Sample(1)).Number("x"), 1e-9, "earlier ticks are kept");
            Check.Near(50, Only(ships.Sample(1.5)).Number("x"), 1e-9, "between them and the new one");
            var other = new TestWorld();
            other.Set(1, new uint[] { 1 }, new long[] { 50, 0, 0, 0, 0 });
            ships.Push(other.World);
            Check.Near(50, Only(ships.Sample(0)).Number("x"), 1e-9, "another world");
            Check.Throws<ArgumentException>(() => new Interpolation("ships", "none").Push(world.World), "an unknown field");
            new Interpolation("none", "x").Push(world.World);
        }

        private static void Turning()
        {
            var into = new double[4];
            Quaternions.Slerp(new double[] { 0, 0, 0, 1 }, new double[] { 0, 0, -Math.Sqrt(0.5), -Math.Sqrt(0.5) }, 0.5, into);
            Check.Near(Math.Sin(Math.PI / 8), into[2], 1e-9, "half of a quarter turn");
        }

        private static InterpolatedEntity Only(InterpolatedEntities entities)
        {
            Check.That(entities.MoveNext(), "there is an entity");
            return entities.Current;
        }

        private static int Count(InterpolatedEntities entities)
        {
            int count = 0;
            while (entities.MoveNext())
            {
                count++;
            }

            return count;
        }

        // -- values of generated code -----------------------------------------------------------------------

        private static void ReadValues()
        {
            Check.Equal(3L, WireValues.ToInteger(3UL), "an unsigned integer");
            Check.Equal(3.0, WireValues.ToNumber(3L), "a whole number as a real");
            Check.Equal(1.5, WireValues.ToNumber(1.5), "a real");
            Check.Throws<FormatException>(() => WireValues.ToInteger(ulong.MaxValue), "an integer above the range");
            Check.Throws<FormatException>(() => WireValues.ToInteger(1.5), "a real as an integer");
            Check.Throws<FormatException>(() => WireValues.ToText(null), "null as a text");
            Check.Throws<FormatException>(() => WireValues.Item(new List<object> { 1L }, 0, 2), "a list of another size");
            Check.That(WireValues.OrNull(null, value => (long?)WireValues.ToInteger(value)) == null, "null");
            var map = new Dictionary<string, object> { { "4", "four" } };
            Check.Equal("four", WireValues.ToNumberedMap(map, value => WireValues.ToText(value))[4], "a map by numbers");
            Check.That(!WireValues.OptionalField(map, "5", value => value).HasValue, "a field that was left out");
            try
            {
                WireValues.Field(map, "4", value => WireValues.ToInteger(value));
                throw new CheckFailedException("a text was read as an integer");
            }
            catch (FormatException error)
            {
                Check.That(error.Message.StartsWith("4: expected an integer", StringComparison.Ordinal), error.Message);
            }

            var readers = new[] { new TaggedReader("sale", value => "a sale") };
            Check.Equal("a sale", WireValues.ToTagged(Tagged("sale"), "type", readers), "a class by its tag");
            Check.That(WireValues.ToTagged(Tagged("gift"), "type", readers) is Dictionary<string, object>, "an unknown tag");
            Check.Equal(-1L, WireValues.ToMember(new object[] { "gold" }, "iron"), "a member of a newer server");
        }

        private static Dictionary<string, object> Tagged(string tag)
        {
            return new Dictionary<string, object> { { "type", tag } };
        }

        private static void WrittenValues()
        {
            Check.That(WireValues.FromList<long>(null, value => value) == null, "no list");
            object list = WireValues.FromList(new List<long> { 1, 2 }, value => (object)value);
            Check.Equal("930102c0", Json.ToHex(MessagePack.Encode(new List<object> { 1L, 2L, null })), "a list of MessagePack");
            Check.Equal("920102", Json.ToHex(MessagePack.Encode(list)), "a list");
            Check.Equal("gold", WireValues.FromMember(new object[] { "gold" }, 0), "a member");
            Check.Throws<ArgumentOutOfRangeException>(() => WireValues.FromMember(new object[] { "gold" }, -1), "no member");
            var join = new JoinOptions { Name = "lobby" };
            JoinOptions merged = WireValues.WithOptions(join, new Dictionary<string, object> { { "a", 1L } }, null);
            Check.Equal("lobby", merged.Name, "the selected room");
            Check.Equal("81a16101", Json.ToHex(MessagePack.Encode(merged.Options)), "the options");
            join.Options = new Dictionary<string, object> { { "a", 2L } };
            merged = WireValues.WithOptions(join, null, null);
            Check.Equal("81a16102", Json.ToHex(MessagePack.Encode(merged.Options)), "the options of the join itself");
            merged = WireValues.WithOptions(join, new Dictionary<string, object> { { "a", 1L }, { "b", 3L } });
            Check.Equal("82a16101a16203", Json.ToHex(MessagePack.Encode(merged.Options)), "both, and the object's field wins");
            Check.Throws<InvalidOperationException>(() => Console.WriteLine(default(Optional<int>).Value), "a value left out");
            Optional<string> isNull = (string)null;
            Check.That(isNull.HasValue && isNull.ValueOr("other") == null, "null is a value");
        }
    }
}
